//! The vendor side.

pub mod berth_yaml;
pub mod compose;
pub mod problem;
pub mod yaml;
