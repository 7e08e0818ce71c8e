//! Whether the releases can run here at all: made for this machine, and filled in.

use berth_format::{Code, Refusal};

use super::{bad, good};
use crate::api::Check;
use crate::update::planner::Planned;
use crate::update::resolve::Place;

/// What the planner found, each under the name of its check.
pub(super) fn fit(planned: &Planned, place: &Place) -> Vec<Check> {
    let mut checks = vec![
        good("architecture", place.platform.to_string()),
        good("config", "every value is there and fits".to_owned()),
    ];
    for refusal in &planned.problems {
        let name = name(refusal);
        checks.retain(|check| check.name != name || check.refusal.is_some());
        checks.push(bad(name, refusal.clone()));
    }
    checks
}

fn name(refusal: &Refusal) -> &'static str {
    match refusal.code {
        Code::WrongArchitecture => "architecture",
        Code::ConfigMissing | Code::ConfigInvalid => "config",
        _ => "release",
    }
}
