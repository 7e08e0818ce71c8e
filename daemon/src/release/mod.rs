//! What was published, and whether to believe it.

pub mod download;
pub mod follow;
pub mod import;
pub mod offer;
