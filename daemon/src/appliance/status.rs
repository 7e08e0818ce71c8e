//! How the appliance is, in one word, one sentence, and one line a service.

use std::collections::BTreeMap;

use berth_format::Release;
use berth_format::service::Port;

use super::Appliance;
use crate::api::{Overall, Result, RunSummary, ServiceStatus, Status, internal};
use crate::engine::{Container, ContainerState, Engine, Health};
use crate::host::Host;
use crate::store::{Installed, Run};
use crate::update::gate::is_one_off;
use crate::update::{Phase, policy};

/// A run, short.
pub fn summary(run: &Run) -> RunSummary {
    RunSummary {
        id: run.id,
        kind: run.plan.kind,
        from: run.plan.from.clone(),
        to: run.plan.to.clone(),
        hop: run.hop,
        hops: run.plan.hops.len(),
        phase: run.phase,
        started: run.started,
        ended: run.ended,
        failure: run.failure.clone(),
    }
}

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) async fn answer_status(&self) -> Result<Status> {
        let store = &self.0.store;
        let installed = store.installed().map_err(internal)?;
        let run = store.current().map_err(internal)?;
        let held = store.releases().map_err(internal)?;
        let release = installed
            .as_ref()
            .and_then(|i| held.iter().find(|h| h.release.version == i.version))
            .map(|h| &h.release);
        let (mut services, mut engine_error) = (Vec::new(), None);
        if let (Some(installed), Some(release)) = (&installed, release) {
            match self.0.engine.containers(&installed.product).await {
                Ok(containers) => services = all(release, installed, &containers),
                Err(error) => engine_error = Some(error.to_string()),
            }
        }
        let state = overall(
            installed.as_ref(),
            run.as_ref(),
            &services,
            engine_error.as_deref(),
        );
        let from = installed.as_ref().map(|i| &i.version);
        let usable: Vec<&Release> = held
            .iter()
            .filter(|h| h.fetched && h.failed.is_none())
            .map(|h| &h.release)
            .collect();
        let available = usable
            .iter()
            .map(|r| &r.version)
            .filter(|v| from.is_some_and(|f| *v > f) && policy::route(from, v, &usable).is_ok())
            .cloned()
            .collect();
        Ok(Status {
            berth: env!("CARGO_PKG_VERSION").to_owned(),
            product: installed.as_ref().map(|i| i.product.clone()),
            title: release.map(|r| r.title.clone()),
            version: installed.as_ref().map(|i| i.version.clone()),
            committed: installed.as_ref().map(|i| i.committed),
            generation: installed.as_ref().map_or(0, |i| i.generation),
            state,
            summary: sentence(state, release, installed.as_ref(), run.as_ref(), &services),
            services,
            run: run.as_ref().map(summary),
            engine_error,
            previous: installed.and_then(|i| i.previous).map(|p| p.version),
            available,
        })
    }
}

fn all(release: &Release, installed: &Installed, containers: &[Container]) -> Vec<ServiceStatus> {
    let by_name: BTreeMap<&str, &Container> =
        containers.iter().map(|c| (c.name.as_str(), c)).collect();
    release
        .services
        .iter()
        .map(|(name, service)| {
            let placed = installed.services.get(name);
            let container = placed.and_then(|p| by_name.get(p.container.as_str()).copied());
            let done = placed.is_some_and(|placed| placed.done);
            let (good, summary) = if done && container.is_none() {
                (true, "has done its work".to_owned())
            } else {
                judge(container, is_one_off(service))
            };
            ServiceStatus {
                name: name.clone(),
                good,
                summary,
                container: container.cloned(),
                ports: service
                    .ports
                    .iter()
                    .map(|p| port(p, &installed.values))
                    .collect(),
            }
        })
        .collect()
}

/// Whether a container is as it should be, in a few words.
pub fn judge(container: Option<&Container>, one_off: bool) -> (bool, String) {
    let Some(container) = container else {
        return (false, "its container is gone".into());
    };
    match (container.state, container.health) {
        (ContainerState::Running, Health::Healthy) => (true, "healthy".into()),
        (ContainerState::Running, Health::None) => (true, "runs".into()),
        (ContainerState::Running, Health::Starting) => (true, "is starting".into()),
        (ContainerState::Running, Health::Unhealthy) => (false, "unhealthy".into()),
        (ContainerState::Exited { code: 0 }, _) if one_off => (true, "has done its work".into()),
        (ContainerState::Exited { code }, _) => (false, format!("ended with {code}")),
        (ContainerState::Restarting, _) => (false, "restarts again and again".into()),
        (ContainerState::Paused, _) => (false, "is paused".into()),
        (ContainerState::Created, _) => (false, "was never started".into()),
        (ContainerState::Removing | ContainerState::Dead, _) => (false, "is dead".into()),
    }
}

fn port(port: &Port, values: &BTreeMap<String, String>) -> String {
    let render = |t: &berth_format::Template| t.render(values).unwrap_or_else(|_| "?".into());
    let address = port.host_ip.as_ref().map_or_else(|| "*".to_owned(), render);
    let published = port
        .published
        .as_ref()
        .map_or_else(|| "any".to_owned(), render);
    format!(
        "{address}:{published} -> {}/{}",
        port.target,
        port.protocol.as_str()
    )
}

fn overall(
    installed: Option<&Installed>,
    run: Option<&Run>,
    services: &[ServiceStatus],
    engine_error: Option<&str>,
) -> Overall {
    match run.map(|r| r.phase) {
        Some(Phase::Halted(_)) => return Overall::Halted,
        Some(Phase::Back(_)) => return Overall::RollingBack,
        Some(Phase::Forward(_) | Phase::Idle) => return Overall::Updating,
        None => {}
    }
    match installed {
        None => Overall::NotInstalled,
        Some(_) if engine_error.is_some() => Overall::EngineGone,
        Some(_) if services.iter().all(|s| s.good) => Overall::Healthy,
        Some(_) => Overall::Degraded,
    }
}

fn sentence(
    state: Overall,
    release: Option<&Release>,
    installed: Option<&Installed>,
    run: Option<&Run>,
    services: &[ServiceStatus],
) -> String {
    let title = match (release, run) {
        (Some(release), _) => release.title.clone(),
        (None, Some(run)) => run.plan.title.clone(),
        (None, None) => "The product".to_owned(),
    };
    let version = installed.map_or_else(String::new, |i| i.version.to_string());
    match state {
        Overall::NotInstalled => "No product is installed.".into(),
        Overall::Healthy => format!("{title} {version} is running well."),
        Overall::Degraded => {
            let bad: Vec<String> = services
                .iter()
                .filter(|s| !s.good)
                .map(|s| format!("{} {}", s.name, s.summary))
                .collect();
            format!("{title} {version} is not well: {}.", bad.join(", "))
        }
        Overall::Updating => {
            let to = run.map_or_else(String::new, |r| r.plan.to.to_string());
            let phase = run.map_or_else(String::new, |r| r.phase.to_string());
            format!("{title} is on its way to {to}: {phase}.")
        }
        Overall::RollingBack if version.is_empty() => {
            format!("The install of {title} is being undone.")
        }
        Overall::RollingBack => format!("{title} is going back to {version}."),
        Overall::Halted => format!("{title} stands still: a rollback could not finish."),
        Overall::EngineGone => format!("Docker does not answer, so nobody knows how {title} is."),
    }
}
