//! The real machine.

/// The machine that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;
