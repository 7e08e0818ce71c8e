//! Brings services up in order, each gated on health.
//!
//! Health is judged from outside the container: by the release's probe, by running the
//! healthcheck's own command long before Docker's first interval is over, and by what Docker
//! says. A service without any of these must stay up for its settle time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use berth_format::release::Probe;
use berth_format::service::{Condition, Healthcheck, NetworkMode, Restart, Service};
use berth_format::validate::dependencies;
use berth_format::{Code, Name, Refusal, Release};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::context::{Context, StepError};
use crate::engine::{Container, ContainerState, Engine, EngineError, Health};
use crate::host::{Host, ProbeTarget};

/// Between two looks at a container.
const LOOK: Duration = Duration::from_millis(100);

/// Between two runs of a healthcheck's command by Berth itself.
const OWN_CHECK: Duration = Duration::from_millis(400);

/// How long a service may take when its release does not say.
const WITHIN: Duration = Duration::from_mins(5);

/// How long a service may take to end where another one waits for its end.
const COMPLETES: Duration = Duration::from_mins(30);

/// Lines of a log that a failure shows.
pub const LOG_LINES: usize = 20;

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    Started,
    /// Healthy, or ended well where that is what it does.
    Good,
    /// Ended with 0.
    Completed,
    /// It will not get there.
    Failed,
}

/// Services on their way up, each waiting for what it depends on.
struct Rise<'a, E, H> {
    ctx: &'a Context<E, H>,
    release: &'a Release,
    containers: &'a BTreeMap<Name, String>,
    reached: BTreeMap<&'a Name, watch::Sender<Reached>>,
    /// Services whose end others wait for.
    awaited: BTreeSet<&'a Name>,
}

/// Starts the services of `containers`, each after what it depends on, and waits until all are
/// good. Services of the release that are not in `containers` are taken to be there.
pub async fn bring_up<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
) -> Result<(), StepError> {
    let rise = Rise::new(ctx, release, containers);
    try_join_all(containers.keys().map(|name| rise.one(name))).await?;
    still_up(ctx, release, containers).await
}

/// The same, going on with the others where one does not come up; what was wrong with those.
pub async fn bring_up_what_can<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
) -> Result<Vec<String>, StepError> {
    let rise = Rise::new(ctx, release, containers);
    let mut wrong = Vec::new();
    for (name, result) in containers
        .keys()
        .zip(join_all(containers.keys().map(|name| rise.one(name))).await)
    {
        match result {
            Ok(()) => {}
            // Without Docker nothing is known of the others either.
            Err(StepError::Engine(error @ EngineError::Gone(_))) => return Err(error.into()),
            Err(StepError::Refused(refusal)) => wrong.push(refusal.summary),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    if wrong.is_empty()
        && let Err(error) = still_up(ctx, release, containers).await
    {
        match error {
            StepError::Refused(refusal) => wrong.push(refusal.summary),
            other => return Err(other),
        }
    }
    Ok(wrong)
}

impl<'a, E: Engine, H: Host> Rise<'a, E, H> {
    fn new(
        ctx: &'a Context<E, H>,
        release: &'a Release,
        containers: &'a BTreeMap<Name, String>,
    ) -> Self {
        let awaited = release
            .services
            .values()
            .flat_map(|s| &s.depends_on)
            .filter(|(_, d)| d.condition == Condition::ServiceCompletedSuccessfully)
            .map(|(name, _)| name)
            .collect();
        Self {
            ctx,
            release,
            containers,
            reached: containers
                .keys()
                .map(|name| (name, watch::Sender::new(Reached::Nothing)))
                .collect(),
            awaited,
        }
    }

    async fn one(&self, name: &Name) -> Result<(), StepError> {
        let result = self.start(name).await;
        let reached = result.as_ref().map_or(Reached::Failed, |reached| *reached);
        self.reached[name].send_replace(reached);
        result.map(drop)
    }

    async fn start(&self, name: &Name) -> Result<Reached, StepError> {
        let (Some(service), Some(container)) =
            (self.release.services.get(name), self.containers.get(name))
        else {
            return Ok(Reached::Good);
        };
        if let Some(other) = self.wait_for_dependencies(service).await {
            let why = format!("{name} was not started: it waits for {other}");
            return Err(Refusal::new(Code::Unhealthy, why).into());
        }
        let container = container.as_str();
        self.ctx
            .engine(|e| async move { e.start(container).await })
            .await?;
        self.reached[name].send_replace(Reached::Started);
        self.until_good(name, service, container).await
    }

    /// Gives the one that it waits for in vain.
    async fn wait_for_dependencies<'s>(&self, service: &'s Service) -> Option<&'s Name> {
        for other in dependencies(service) {
            let Some(sender) = self.reached.get(other) else {
                continue;
            };
            let dependency = service.depends_on.get(other);
            let wanted = match dependency.map(|d| d.condition) {
                Some(Condition::ServiceHealthy) => Reached::Good,
                Some(Condition::ServiceCompletedSuccessfully) => Reached::Completed,
                Some(Condition::ServiceStarted) | None => Reached::Started,
            };
            // The sender lives as long as this.
            let mut now = sender.subscribe();
            let failed = match now.wait_for(|now| *now >= wanted).await {
                Ok(reached) => *reached == Reached::Failed,
                Err(_) => true,
            };
            if failed && dependency.is_none_or(|d| d.required) {
                return Some(other);
            }
        }
        None
    }

    /// Where the machine reaches what a probe asks.
    async fn probed(
        &self,
        probe: &Probe,
        name: &Name,
        seen: &Container,
    ) -> Result<Option<SocketAddr>, StepError> {
        let mut asked = &probe.service;
        // A service without a network of its own is where the one is that lends it.
        while let Some(service) = self.release.services.get(asked) {
            match &service.network {
                NetworkMode::Service(other) if other != asked => asked = other,
                NetworkMode::Host => {
                    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    return Ok(Some(SocketAddr::new(here, probe.port)));
                }
                _ => break,
            }
        }
        if asked == name {
            return Ok(address(seen, probe.port));
        }
        let Some(container) = self.containers.get(asked) else {
            return Ok(None);
        };
        let found = self
            .ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        Ok(found.and_then(|found| address(&found, probe.port)))
    }

    async fn until_good(
        &self,
        name: &Name,
        service: &Service,
        container: &str,
    ) -> Result<Reached, StepError> {
        let (ctx, must_end) = (self.ctx, self.awaited.contains(name));
        let begun = ctx.host.monotonic();
        let within = match &service.probe {
            Some(probe) => Duration::from_millis(probe.within_ms),
            None if must_end => COMPLETES,
            None => WITHIN,
        };
        let settle = Duration::from_millis(service.settle_ms);
        let mut last_check: Option<Duration> = None;
        let mut checked_good = false;
        let mut probe_said = String::new();
        loop {
            let seen = ctx
                .engine(|e| async move { e.inspect(container).await })
                .await?;
            let Some(seen) = seen else {
                return Err(unhealthy(ctx, name, container, "its container is gone".into()).await);
            };
            match seen.state {
                ContainerState::Exited { code: 0 } if must_end || is_one_off(service) => {
                    return Ok(Reached::Completed);
                }
                ContainerState::Exited { code } => {
                    return Err(
                        unhealthy(ctx, name, container, format!("it ended with {code}")).await,
                    );
                }
                ContainerState::Dead | ContainerState::Removing => {
                    return Err(
                        unhealthy(ctx, name, container, "Docker calls it dead".into()).await,
                    );
                }
                ContainerState::Running
                | ContainerState::Created
                | ContainerState::Restarting
                | ContainerState::Paused => {}
            }
            let running = seen.state == ContainerState::Running;
            let up = ctx.host.monotonic().saturating_sub(begun);
            let own_health = match seen.health {
                Health::Unhealthy => {
                    let why = "its healthcheck failed".into();
                    return Err(unhealthy(ctx, name, container, why).await);
                }
                Health::Healthy | Health::None => true,
                Health::Starting => {
                    if let Some(command) = own_command(service)
                        && running
                        && !checked_good
                        && last_check.is_none_or(|at| up.saturating_sub(at) >= OWN_CHECK)
                    {
                        last_check = Some(up);
                        let run = ctx
                            .engine
                            .exec(container, &command, Duration::from_secs(5))
                            .await;
                        checked_good = matches!(run, Ok(0));
                    }
                    checked_good
                }
            };
            let probed = match &service.probe {
                Some(_) if !running => false,
                Some(probe) => match self.probed(probe, name, &seen).await? {
                    Some(addr) => {
                        let outcome = match &probe.path {
                            Some(path) => {
                                let host = probe.service.to_string();
                                let target = ProbeTarget {
                                    addr,
                                    host,
                                    path: path.clone(),
                                };
                                ctx.host.http_probe(&target, Duration::from_secs(2)).await
                            }
                            None => ctx.host.tcp_probe(addr, Duration::from_secs(2)).await,
                        };
                        probe_said = outcome.to_string();
                        outcome.is_good()
                    }
                    None => false,
                },
                None => true,
            };
            let judged = service.probe.is_some() || seen.health != Health::None;
            // One that was left running has settled long ago.
            let since_start = seen
                .started
                .and_then(|at| Duration::try_from(ctx.host.now().duration_since(at)).ok());
            let settled = up.max(since_start.unwrap_or_default()) >= settle;
            if !must_end && running && own_health && probed && (judged || settled) {
                return Ok(Reached::Good);
            }
            if up >= within {
                let mut why = format!("it was not healthy within {} s", within.as_secs());
                if !probe_said.is_empty() {
                    why = format!("{why}; asked from outside, it {probe_said}");
                }
                return Err(unhealthy(ctx, name, container, why).await);
            }
            ctx.host.sleep(LOOK).await;
        }
    }
}

/// A service and all that it depends on, as a part of `containers`.
pub fn with_dependencies(
    release: &Release,
    names: impl IntoIterator<Item = Name>,
    containers: &BTreeMap<Name, String>,
) -> BTreeMap<Name, String> {
    let mut wanted = BTreeSet::new();
    let mut queue: Vec<Name> = names.into_iter().collect();
    while let Some(name) = queue.pop() {
        if let Some(service) = release.services.get(&name)
            && wanted.insert(name)
        {
            queue.extend(dependencies(service).cloned());
        }
    }
    containers
        .iter()
        .filter(|(name, _)| wanted.contains(*name))
        .map(|(name, container)| (name.clone(), container.clone()))
        .collect()
}

/// What came up first may have fallen while the rest came up.
async fn still_up<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
) -> Result<(), StepError> {
    for (name, container) in containers {
        let Some(service) = release.services.get(name) else {
            continue;
        };
        let seen = ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        let why = match seen.as_ref().map(|s| (s.state, s.health)) {
            Some((ContainerState::Running, health)) if health != Health::Unhealthy => continue,
            Some((ContainerState::Exited { code: 0 }, _)) if is_one_off(service) => continue,
            Some((ContainerState::Exited { code }, _)) => format!("it ended with {code}"),
            Some((state, _)) => format!("it is {state:?}"),
            None => "its container is gone".into(),
        };
        return Err(unhealthy(ctx, name, container, why).await);
    }
    Ok(())
}

/// Whether ending with 0 is what the service is for.
pub fn is_one_off(service: &Service) -> bool {
    matches!(service.restart, Restart::No | Restart::OnFailure { .. })
}

/// The healthcheck's command, where the release says one.
fn own_command(service: &Service) -> Option<Vec<String>> {
    let Some(Healthcheck::Test {
        test: Some(test), ..
    }) = &service.healthcheck
    else {
        return None;
    };
    let words: Option<Vec<String>> = test
        .iter()
        // A command that holds one of the admin's values is left to Docker.
        .map(|t| {
            t.variables()
                .is_empty()
                .then(|| t.render(&BTreeMap::new()).ok())
                .flatten()
        })
        .collect();
    let words = words?;
    match words.split_first() {
        Some((kind, rest)) if kind == "CMD" => Some(rest.to_vec()),
        Some((kind, [line])) if kind == "CMD-SHELL" => {
            Some(vec!["/bin/sh".into(), "-c".into(), line.clone()])
        }
        _ => None,
    }
}

/// Where the host reaches a port of a container: any of its bridges will do.
pub fn address(container: &Container, port: u16) -> Option<SocketAddr> {
    container
        .networks
        .values()
        .flatten()
        .next()
        .map(|ip| SocketAddr::new(*ip, port))
}

async fn unhealthy<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    name: &Name,
    container: &str,
    why: String,
) -> StepError {
    let log = ctx
        .engine
        .tail(container, LOG_LINES)
        .await
        .unwrap_or_default();
    Refusal::new(
        Code::Unhealthy,
        format!("{name} did not become healthy: {why}"),
    )
    .log(log)
    .into()
}
