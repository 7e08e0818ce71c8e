//! What runs at the customer: `berthd`, the service, and `berth`, its command line.

pub mod engine;
pub mod host;
