//! The update policy: what the admin wants, and what follows from it for what the channel offers.

use std::collections::BTreeMap;

use berth_format::rollout::Asked;
use semver::Version;

use super::Appliance;
use crate::api::{Held, PolicyStatus, Result, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::schedule::{self, Candidate, Intent, Policy};
use crate::store::{Outcome, Run};
use crate::update::plan::PlanKind;

/// Runs that are looked through for rollbacks by hand.
const LOOK_BACK: u32 = 200;

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) fn answer_policy(&self) -> Result<PolicyStatus> {
        let policy = self.0.store.policy().map_err(internal)?;
        let (candidates, held) = self.candidates()?;
        let heard = self.0.watch.heard();
        Ok(PolicyStatus {
            intent: self.intent(&policy, &candidates)?,
            policy,
            held,
            refused: heard.refused.map(|(_, refusal)| refusal),
            next_check: heard.next_check,
            check_failed: heard.check_failed,
        })
    }

    pub(super) fn take_policy(&self, policy: &Policy) -> Result<PolicyStatus> {
        policy.check(self.has_receiver())?;
        self.0.store.set_policy(policy).map_err(internal)?;
        self.0.watch.look();
        self.answer_policy()
    }

    /// What follows from a policy now.
    pub(super) fn intent(
        &self,
        policy: &Policy,
        candidates: &[Candidate],
    ) -> Result<Option<Intent>> {
        let zone = policy.time_zone().map_err(internal)?;
        let trust = self.0.store.trust().map_err(internal)?;
        let now = trust.seen.now(self.0.host.now());
        Ok(schedule::decide(policy, &zone, now, candidates))
    }

    /// What could be taken by itself, and what is newer and held back here.
    pub(super) fn candidates(&self) -> Result<(Vec<Candidate>, Vec<Held>)> {
        let store = &self.0.store;
        let (Some(installed), Some(channel)) =
            (store.installed().map_err(internal)?, self.kept_channel()?)
        else {
            return Ok((Vec::new(), Vec::new()));
        };
        if channel.product != installed.product {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut back = left_by_hand(&store.history(LOOK_BACK).map_err(internal)?);
        for stored in store.releases().map_err(internal)? {
            if let Some(why) = stored.failed {
                back.insert(stored.release.version, why);
            }
        }
        let appliance = store.appliance().map_err(internal)?;
        let trust = store.trust().map_err(internal)?;
        let now = trust.seen.now(self.0.host.now());
        let (mut candidates, mut held) = (Vec::new(), Vec::new());
        let newer = channel
            .releases
            .iter()
            .filter(|(version, _)| **version > installed.version);
        for (version, entry) in newer {
            if !channel.is_offered(version, entry, &appliance, now, Asked::ByItself) {
                continue;
            }
            match back.remove(version) {
                Some(why) => held.push(Held {
                    version: version.clone(),
                    why,
                }),
                None => candidates.push(Candidate {
                    version: version.clone(),
                    published: entry.published,
                    security: entry.security,
                }),
            }
        }
        Ok((candidates, held))
    }
}

/// Versions that an admin went back from: to take one of them again is his to decide, as long as
/// he has not. `runs`: newest first.
pub(super) fn left_by_hand(runs: &[Run]) -> BTreeMap<Version, String> {
    let mut taken = Vec::new();
    let mut left = BTreeMap::new();
    for run in runs {
        let Some(ended) = run.ended.filter(|e| e.outcome == Outcome::Committed) else {
            continue;
        };
        match (run.plan.kind, &run.plan.from) {
            (PlanKind::Rollback, Some(from)) if !taken.contains(from) => {
                let day = ended.at.strftime("%Y-%m-%d");
                left.entry(from.clone())
                    .or_insert_with(|| format!("on {day} an admin went back from it"));
            }
            (PlanKind::Install | PlanKind::Update, _) => taken.push(run.plan.to.clone()),
            (PlanKind::Rollback | PlanKind::Reconfigure, _) => {}
        }
    }
    left
}
