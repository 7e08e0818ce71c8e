//! Keeps the stack as the release says: a container that was removed, killed, or left down by a
//! restarted Docker comes back, an unhealthy one is restarted within limits.
//!
//! Never while an update is under way: both hold the same lock.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::service::{Condition, NetworkMode, Restart, Service};
use berth_format::validate::start_order;
use berth_format::{Name, Release};
use futures_util::{StreamExt, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::vitals::Vitals;
use super::{Appliance, status::judge};
use crate::api::Notice;
use crate::engine::{Container, ContainerState, Engine, Health};
use crate::host::Host;
use crate::store::{Installed, Mended};
use crate::update::context::{StepError, installed_spec};
use crate::update::gate::is_one_off;
use crate::update::resolve::DOORS;
use crate::update::{ensure_networks, has_doors, prepare_container, stop_grace};

/// Until the next look after something was mended, or while Docker is away.
const LOOK: Duration = Duration::from_millis(250);

/// The same while a service waits for another one, whose coming Docker tells.
const WAITING: Duration = Duration::from_secs(5);

/// Between two looks while all is well: Docker tells what happens, and it may forget to.
const ROUND: Duration = Duration::from_mins(1);

/// The first pause after a try, doubled by each that follows, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// A service that was good for this long starts again with the first pause.
const FORGIVEN: Duration = Duration::from_mins(10);

/// Exit codes of what was ended from outside: by SIGKILL, by SIGTERM, or with a Docker that crashed.
const KILLED: [i64; 3] = [137, 143, 255];

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
    /// It runs in the network of a container that was started after it.
    Follow,
    /// It runs, but an update could not open its doors or set its restart policy.
    Finish,
}

impl<E: Engine, H: Host> Appliance<E, H> {
    /// Looks after the stack until the task is dropped.
    pub async fn supervise(&self) {
        let mut tries: BTreeMap<Name, Tries> = BTreeMap::new();
        let mut vitals = Vitals::default();
        let mut notices = self.0.notices.subscribe();
        let mut away = false;
        loop {
            // Listened to before the look: what happens in between is not missed.
            let product = self.0.store.installed().ok().flatten().map(|i| i.product);
            let mut happenings = match product.as_ref().map(|p| self.0.engine.events(p)) {
                Some(Ok(events)) => events.boxed(),
                // Nothing to listen to before an install, or from a Docker that is away.
                Some(Err(_)) | None => stream::pending().boxed(),
            };
            loop {
                let next = match self.round(&mut tries, &mut vitals).await {
                    Ok(next) => {
                        away = false;
                        next
                    }
                    Err(error) => {
                        self.watch_failed(&mut vitals, &error);
                        if !away {
                            log::warn!("the stack cannot be looked after: {error}");
                        }
                        away = true;
                        LOOK
                    }
                };
                tokio::select! {
                    heard = happenings.next() => if !matches!(heard, Some(Ok(_))) {
                        // Docker went away: listen anew, when it is there again.
                        self.0.host.sleep(LOOK).await;
                        break;
                    },
                    // An update that ends may have changed all there is to look at.
                    () = ended(&mut notices) => break,
                    () = self.0.host.sleep(next) => if away { break },
                }
            }
        }
    }

    /// One look, unless something else holds the stack; how long until the next one.
    async fn round(
        &self,
        tries: &mut BTreeMap<Name, Tries>,
        vitals: &mut Vitals,
    ) -> Result<Duration, StepError> {
        let _guard = self.0.busy.lock().await;
        // A run that stands still keeps everything still.
        if self.0.store.current()?.is_some() {
            vitals.clear();
            return Ok(ROUND);
        }
        let Some(installed) = self.0.store.installed()? else {
            return Ok(ROUND);
        };
        let Some(stored) = self.0.store.release(&installed.version)? else {
            return Ok(ROUND);
        };
        let next = self
            .look(&stored.release, &installed, tries, vitals)
            .await?;
        let told = vitals.next(self.0.host.monotonic());
        Ok(told.map_or(next, |told| next.min(told)))
    }

    /// Mends what may be mended now; how long until the next look.
    async fn look(
        &self,
        release: &Release,
        installed: &Installed,
        tries: &mut BTreeMap<Name, Tries>,
        vitals: &mut Vitals,
    ) -> Result<Duration, StepError> {
        let mut next = ROUND;
        let all = self.0.engine.containers(&installed.product).await?;
        let seen: BTreeMap<&str, &Container> = all.iter().map(|c| (c.name.as_str(), c)).collect();
        self.see(vitals, release, installed, &seen);
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
            let sharing = shares(release, installed, service, &seen);
            let Some(need) = need(container, service, placed.done, doors, sharing) else {
                let since = tries.get(&name).map(|t| now.saturating_sub(t.last));
                if since.is_some_and(|since| since > FORGIVEN) {
                    tries.remove(&name);
                }
                continue;
            };
            if waits(release, installed, service, &seen) {
                next = next.min(WAITING);
                continue;
            }
            let done = tries.entry(name.clone()).or_default();
            let since = now.saturating_sub(done.last);
            if done.count > 0 && since < pause(done.count) {
                next = next.min(pause(done.count).saturating_sub(since));
                continue;
            }
            done.count += 1;
            done.last = now;
            next = LOOK;
            self.mend(release, installed, &name, need).await?;
        }
        Ok(next)
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
            Need::Follow => "the service whose network it shares was restarted: so it is, too",
            Need::Start => "it was down: started again",
            Need::Restart => "it was unhealthy: restarted",
            Need::Finish => "its doors or its restart policy were not set: set now",
        };
        log::warn!(SERVICE = name.to_string(); "{name}: {what}");
        let mended = Mended {
            at: self.0.host.now(),
            service: name.clone(),
            what: what.to_owned(),
        };
        // On a full disk the service comes first.
        if let Err(error) = self.0.store.put_mended(&mended) {
            log::warn!("it cannot be written down: {error}");
        }
        ctx.tell(Notice::Supervisor(mended));
        // A prune takes what nothing ran on.
        ensure_networks(&ctx, release, installed).await?;
        match need {
            Need::Create => {
                let (spec, laid) = installed_spec(release, installed, &ctx.place, name)?;
                prepare_container(&ctx, &spec, &laid).await?;
                // Who shared the network of the old one has none any more.
                for (other, sharer) in &release.services {
                    let shared = matches!(&sharer.network, NetworkMode::Service(n) if n == name);
                    if let Some(placed) = installed.services.get(other).filter(|_| shared) {
                        ctx.engine.remove(&placed.container).await?;
                    }
                }
            }
            Need::Start | Need::Finish => {}
            Need::Restart | Need::Follow => {
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

/// Waits for the end of an update.
pub(super) async fn ended(notices: &mut broadcast::Receiver<Notice>) {
    loop {
        match notices.recv().await {
            // One that was missed may have been it.
            Ok(Notice::Ended(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // Never: the appliance itself holds the sender.
            Err(RecvError::Closed) => std::future::pending().await,
        }
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
        if placed.is_some_and(|placed| placed.done) {
            return false;
        }
        let one_off = release.services.get(other).is_some_and(is_one_off);
        let healthy = dependency.condition != Condition::ServiceHealthy
            || there.is_some_and(|c| matches!(c.health, Health::Healthy | Health::None));
        dependency.required && !(healthy && judge(there, one_off).0)
    })
}

/// The container whose network a service shares.
fn shares<'a>(
    release: &Release,
    installed: &Installed,
    service: &Service,
    seen: &BTreeMap<&str, &'a Container>,
) -> Option<&'a Container> {
    let NetworkMode::Service(other) = &service.network else {
        return None;
    };
    let _ = release.services.get(other)?;
    let placed = installed.services.get(other)?;
    seen.get(placed.container.as_str()).copied()
}

/// `done`: at the commit it had done its work. `doors`: the network that publishes its ports.
/// `lender`: whose network it shares.
fn need(
    container: Option<&Container>,
    service: &Service,
    done: bool,
    doors: Option<&str>,
    lender: Option<&Container>,
) -> Option<Need> {
    if done {
        return None;
    }
    let Some(container) = container else {
        return Some(Need::Create);
    };
    let policy = service.restart;
    match container.state {
        ContainerState::Running if container.health == Health::Unhealthy => Some(Need::Restart),
        ContainerState::Running
            if lender.is_some_and(|l| {
                l.state == ContainerState::Running && l.started > container.started
            }) =>
        {
            Some(Need::Follow)
        }
        ContainerState::Running
            if doors.is_some_and(|doors| !container.networks.contains_key(doors))
                || (container.restart == Restart::No && policy != Restart::No) =>
        {
            Some(Need::Finish)
        }
        // One that ended by itself is left alone: so says its policy. One that was killed with
        // Docker did not.
        ContainerState::Exited { code } if policy == Restart::No => {
            KILLED.contains(&code).then_some(Need::Start)
        }
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
