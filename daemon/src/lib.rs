//! What runs at the customer: `berthd`, the service, and `berth`, its command line.

pub mod api;
pub mod engine;
pub mod host;
pub mod release;
pub mod store;
pub mod update;
