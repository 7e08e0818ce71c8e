//! Keeps the stack as the release says: a container that was removed, killed, or left down by a
//! restarted Docker comes back, an unhealthy one is restarted within limits.
//!
//! Never while an update is under way: both hold the same lock.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::service::{Condition, Restart, Service};
use berth_format::validate::start_order;
use berth_format::{Name, Release};

use super::{Appliance, status::judge};
use crate::api::Notice;
use crate::engine::{Container, ContainerState, Engine, Health};
use crate::host::Host;
use crate::store::Installed;
use crate::update::context::{StepError, installed_spec};
use crate::update::gate::is_one_off;
use crate::update::resolve::DOORS;
use crate::update::{has_doors, prepare_container, stop_grace};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The first pause after a try, doubled by each that follows, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// A service that was good for this long starts again with the first pause.
const FORGIVEN: Duration = Duration::from_mins(10);

/// What was tried for a service.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    count: u32,
    /// Since an arbitrary point.
    last: Duration,
}

/// What a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Create,
    Start,
    Restart,
    /// It runs, but an update could not open its doors or set its restart policy.
    Finish,
}

impl<E: Engine, H: Host> Appliance<E, H> {
    /// Looks after the stack until the task is dropped.
    pub async fn supervise(&self) {
        let mut tries: BTreeMap<Name, Tries> = BTreeMap::new();
        let mut away = false;
        loop {
            self.0.host.sleep(LOOK).await;
            let Ok(_guard) = self.0.busy.try_lock() else {
                continue;
            };
            // A run that stands still keeps everything still.
            if !matches!(self.0.store.current(), Ok(None)) {
                continue;
            }
            let Ok(Some(installed)) = self.0.store.installed() else {
                continue;
            };
            let Ok(Some(stored)) = self.0.store.release(&installed.version) else {
                continue;
            };
            match self.look(&stored.release, &installed, &mut tries).await {
                Ok(()) => away = false,
                Err(error) if !away => {
                    away = true;
                    log::warn!("the stack cannot be looked after: {error}");
                }
                Err(_) => {}
            }
        }
    }

    async fn look(
        &self,
        release: &Release,
        installed: &Installed,
        tries: &mut BTreeMap<Name, Tries>,
    ) -> Result<(), StepError> {
        let all = self.0.engine.containers(&installed.product).await?;
        let seen: BTreeMap<&str, &Container> = all.iter().map(|c| (c.name.as_str(), c)).collect();
        let now = self.0.host.monotonic();
        for name in start_order(release)
            .unwrap_or_default()
            .into_iter()
            .flatten()
        {
            let (Some(service), Some(placed)) =
                (release.services.get(&name), installed.services.get(&name))
            else {
                continue;
            };
            let container = seen.get(placed.container.as_str()).copied();
            let doors = has_doors(release, &name)
                .then(|| installed.networks.get(DOORS))
                .flatten();
            let doors = doors.map(|n| n.name.as_str());
            let Some(need) = need(container, service.restart, doors) else {
                let since = tries.get(&name).map(|t| now.saturating_sub(t.last));
                if since.is_some_and(|since| since > FORGIVEN) {
                    tries.remove(&name);
                }
                continue;
            };
            if waits(release, installed, service, &seen) {
                continue;
            }
            let done = tries.entry(name.clone()).or_default();
            if done.count > 0 && now.saturating_sub(done.last) < pause(done.count) {
                continue;
            }
            done.count += 1;
            done.last = now;
            self.mend(release, installed, &name, need).await?;
        }
        Ok(())
    }

    async fn mend(
        &self,
        release: &Release,
        installed: &Installed,
        name: &Name,
        need: Need,
    ) -> Result<(), StepError> {
        let ctx = self.context(self.place().await?, None);
        let Some(placed) = installed.services.get(name) else {
            return Ok(());
        };
        let container = placed.container.as_str();
        let what = match need {
            Need::Create => "its container was gone: created and started again",
            Need::Start => "it was down: started again",
            Need::Restart => "it was unhealthy: restarted",
            Need::Finish => "its doors or its restart policy were not set: set now",
        };
        log::warn!(SERVICE = name.to_string(); "{name}: {what}");
        let at = self.0.host.now();
        ctx.tell(Notice::Supervisor {
            at,
            service: name.clone(),
            what: what.to_owned(),
        });
        match need {
            Need::Create => {
                let (spec, laid) = installed_spec(release, installed, &ctx.place, name)?;
                prepare_container(&ctx, &spec, &laid).await?;
            }
            Need::Start | Need::Finish => {}
            Need::Restart => {
                let grace = stop_grace(release, name);
                ctx.engine.stop(container, grace).await?;
            }
        }
        if has_doors(release, name)
            && let Some(doors) = installed.networks.get(DOORS)
        {
            ctx.engine.connect(&doors.name, container, &[]).await?;
        }
        ctx.engine.start(container).await?;
        let policy = release
            .services
            .get(name)
            .map_or(Restart::No, |s| s.restart);
        Ok(ctx.engine.set_restart(container, policy).await?)
    }
}

/// Whether something that the service needs is not up yet.
fn waits(
    release: &Release,
    installed: &Installed,
    service: &Service,
    seen: &BTreeMap<&str, &Container>,
) -> bool {
    service.depends_on.iter().any(|(other, dependency)| {
        let placed = installed.services.get(other);
        let there = placed.and_then(|p| seen.get(p.container.as_str()).copied());
        let one_off = release.services.get(other).is_some_and(is_one_off);
        let healthy = dependency.condition != Condition::ServiceHealthy
            || there.is_some_and(|c| matches!(c.health, Health::Healthy | Health::None));
        dependency.required && !(healthy && judge(there, one_off).0)
    })
}

fn need(container: Option<&Container>, policy: Restart, doors: Option<&str>) -> Option<Need> {
    let Some(container) = container else {
        return Some(Need::Create);
    };
    match container.state {
        ContainerState::Running if container.health == Health::Unhealthy => Some(Need::Restart),
        ContainerState::Running
            if doors.is_some_and(|doors| !container.networks.contains_key(doors))
                || (container.restart == Restart::No && policy != Restart::No) =>
        {
            Some(Need::Finish)
        }
        // A one-off that ended is left alone: so says its policy.
        ContainerState::Exited { .. } if policy == Restart::No => None,
        ContainerState::Exited { code: 0 } if matches!(policy, Restart::OnFailure { .. }) => None,
        ContainerState::Created | ContainerState::Exited { .. } | ContainerState::Dead => {
            Some(Need::Start)
        }
        // Docker itself is at it, or somebody paused it.
        ContainerState::Running
        | ContainerState::Restarting
        | ContainerState::Removing
        | ContainerState::Paused => None,
    }
}

fn pause(count: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << count.saturating_sub(1).min(6))
        .min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 4);
        assert_eq!(pause(40), MAX_PAUSE);
    }
}
