//! Containers.

use std::time::Duration;

use berth_format::Product;
use berth_format::service::Restart;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerUpdateBody, ExecConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt};

use super::{ASK, Docker, WORK, failure, map, missing_is_fine, within};
use crate::engine::spec::NetworkChoice;
use crate::engine::{
    Container, ContainerSpec, Engine, EngineError, LABEL_PRODUCT, LABEL_SPEC, Result,
};

/// Beyond its grace, what Docker takes to kill a container and let go of what it had.
const STOP_SLACK: Duration = Duration::from_secs(15);
/// Questions at once.
const AT_ONCE: usize = 8;

impl Docker {
    /// The container as the engine describes it; `None` if it is not there.
    pub(super) async fn raw(&self, name: &str) -> Result<Option<ContainerInspectResponse>> {
        let client = self.client()?;
        let request = client.inspect_container(name, None::<InspectContainerOptions>);
        missing_is_fine(within(ASK, name, request).await.map(Some))
    }

    pub(super) async fn inspect_container(&self, name: &str) -> Result<Option<Container>> {
        match self.raw(name).await? {
            None => Ok(None),
            Some(found) => match map::container(found) {
                Some(container) => Ok(Some(container)),
                None => Err(EngineError::Conflict(name.to_owned())),
            },
        }
    }

    pub(super) async fn containers_of(&self, product: &Product) -> Result<Vec<Container>> {
        let filters = map::filters([("label", format!("{LABEL_PRODUCT}={product}"))]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let client = self.client()?;
        let list = within(ASK, "containers", client.list_containers(Some(options))).await?;
        let found: Vec<_> = futures_util::stream::iter(list.into_iter().filter_map(|c| c.id))
            .map(|id| async move { self.raw(&id).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut containers: Vec<_> = found
            .into_iter()
            .flatten()
            .filter_map(map::container)
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    pub(super) async fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        if self.complete(spec).await? {
            return Ok(());
        }
        let info = self.info().await?;
        let body = map::create(spec, info.image_store, info.api);
        let options = CreateContainerOptionsBuilder::new()
            .name(&spec.name)
            .build();
        let client = self.client()?;
        let request = client.create_container(Some(options), body);
        match within(WORK, &spec.name, request).await {
            Ok(_) => {}
            // A create that was given up on may still have ended well.
            Err(EngineError::Conflict(_)) if self.complete(spec).await? => return Ok(()),
            Err(error) => return Err(error),
        }
        for (network, aliases) in map::more_networks(spec) {
            let aliases: Vec<_> = aliases.iter().cloned().collect();
            self.attach(network, &spec.name, &aliases).await?;
        }
        Ok(())
    }

    /// Whether the container is there and made from this; one that a crash left off some of its
    /// networks is put on them.
    async fn complete(&self, spec: &ContainerSpec) -> Result<bool> {
        let Some(found) = self.raw(&spec.name).await? else {
            return Ok(false);
        };
        let labels = found.config.and_then(|c| c.labels).unwrap_or_default();
        let same = labels.get(LABEL_PRODUCT).map(String::as_str) == Some(spec.product.as_str())
            && labels.get(LABEL_SPEC) == Some(&spec.digest().to_string());
        if !same {
            return Err(EngineError::Conflict(spec.name.clone()));
        }
        let networks = found.network_settings.and_then(|n| n.networks);
        let networks = networks.unwrap_or_default();
        if let NetworkChoice::Networks(wanted) = &spec.network {
            for (network, aliases) in wanted {
                if !networks.contains_key(network) {
                    let aliases: Vec<_> = aliases.iter().cloned().collect();
                    self.attach(network, &spec.name, &aliases).await?;
                }
            }
        }
        Ok(true)
    }

    pub(super) async fn start_container(&self, name: &str) -> Result<()> {
        let client = self.client()?;
        let request = client.start_container(name, None::<StartContainerOptions>);
        within(WORK, name, request).await
    }

    pub(super) async fn stop_container(&self, name: &str, grace: Duration) -> Result<()> {
        let seconds = grace.as_millis().div_ceil(1000);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        let client = self.client()?;
        let request = client.stop_container(name, Some(options));
        missing_is_fine(within(grace + STOP_SLACK, name, request).await)
    }

    pub(super) async fn remove_container(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let client = self.client()?;
        let request = client.remove_container(name, Some(options));
        match within(WORK, name, request).await {
            Err(EngineError::Refused(why)) if why.contains("already in progress") => {
                self.until_gone(name).await
            }
            other => missing_is_fine(other),
        }
    }

    /// Somebody else is removing it.
    async fn until_gone(&self, name: &str) -> Result<()> {
        let gone = async {
            while self.raw(name).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(WORK, gone).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::TimedOut(WORK)),
        }
    }

    pub(super) async fn update_restart(&self, name: &str, policy: Restart) -> Result<()> {
        let body = ContainerUpdateBody {
            restart_policy: Some(map::restart_policy(policy)),
            ..ContainerUpdateBody::default()
        };
        let client = self.client()?;
        within(ASK, name, client.update_container(name, body)).await
    }

    pub(super) async fn wait_container(&self, name: &str) -> Result<i64> {
        let options = WaitContainerOptionsBuilder::new()
            .condition("not-running")
            .build();
        let client = self.client()?;
        let mut answers = std::pin::pin!(client.wait_container(name, Some(options)));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // bollard's way of saying that it is not 0.
            Some(Err(Error::DockerContainerWaitError { error, code })) if error.is_empty() => {
                Ok(code)
            }
            Some(Err(error)) => Err(failure(name, error)),
            None => Err(EngineError::Gone("the wait ended without an answer".into())),
        }
    }

    pub(super) async fn exec_in(
        &self,
        name: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<i64> {
        let run = async {
            let client = self.client()?;
            let config = ExecConfig {
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                cmd: Some(command.to_vec()),
                ..ExecConfig::default()
            };
            let exec = within(ASK, name, client.create_exec(name, config)).await?;
            let started = client.start_exec(&exec.id, None::<StartExecOptions>);
            if let StartExecResults::Attached { mut output, .. } =
                started.await.map_err(|error| failure(name, error))?
            {
                // Nobody reads it, but the end of it is the end of the command.
                while output.next().await.is_some_and(|chunk| chunk.is_ok()) {}
            }
            // The exit code can come a moment after the end of the output.
            loop {
                let state = within(ASK, name, client.inspect_exec(&exec.id)).await?;
                match state.exit_code {
                    Some(code) if state.running != Some(true) => return Ok(code),
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        match tokio::time::timeout(timeout, run).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::TimedOut(timeout)),
        }
    }
}
