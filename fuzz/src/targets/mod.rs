//! One file a target.

pub mod berth_yaml;
pub mod bundle;
pub mod channel;
pub mod compose;
pub mod daemon;
pub mod frame;
pub mod image_config;
pub mod judge;
pub mod release;
pub mod root;
pub mod rotation;
pub mod signature;
