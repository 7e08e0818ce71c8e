//! The update: verify, plan, preflight, then the journaled steps, forward or back.
//!
//! ```text
//! bytes -> verified -> parsed -> planned -> done -> journaled
//! ```
//!
//! [`transition`] and [`policy`] are pure. Only [`driver`] runs steps, and it journals the intent
//! first, the outcome after.

pub mod away;
pub mod context;
pub mod drained;
pub mod driver;
pub mod endure;
pub mod gate;
#[cfg(feature = "crash-points")]
mod hold;
pub mod plan;
pub mod planner;
pub mod policy;
pub mod resolve;
#[cfg(test)]
pub(crate) mod seeded;
mod steps;
#[cfg(test)]
mod tests;
pub mod transition;

pub use plan::Plan;
pub use steps::{ensure_networks, has_doors, is_fetched, prepare_container, stop_grace};
pub use transition::{Event, Phase, Step, Undo};
