//! What runs at the customer: `berthd`, the service, and `berth`, its command line.

pub mod api;
pub mod appliance;
pub mod cli;
pub mod engine;
pub mod host;
pub mod http;
pub mod life;
pub mod logging;
pub mod notify;
pub mod preflight;
pub mod release;
pub mod schedule;
pub mod store;
pub mod update;
pub mod watchdog;
