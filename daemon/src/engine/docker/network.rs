//! Networks and who is on them.

use std::collections::HashMap;
use std::time::Duration;

use berth_format::{Digest, Product};
use bollard::models::{
    Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};

use super::{ASK, Docker, WORK, map, missing_is_fine, within};
use crate::engine::{
    EngineError, LABEL_GENERATION, LABEL_NAME, LABEL_PRODUCT, LABEL_SPEC, NetworkSpec, Result,
};

/// What a container gets that must be started anew to leave a half-made connection.
const RESTART_GRACE: Duration = Duration::from_secs(10);

/// The generation that asks is not what a network is made of.
fn digest(spec: &NetworkSpec) -> Digest {
    let spec = NetworkSpec {
        generation: 0,
        ..spec.clone()
    };
    Digest::of(&berth_format::canonical(&spec))
}

impl Docker {
    pub(super) async fn networks_of(&self, product: &Product) -> Result<Vec<String>> {
        let filters = map::filters([("label", format!("{LABEL_PRODUCT}={product}"))]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let client = self.client()?;
        let list = within(ASK, "networks", client.list_networks(Some(options))).await?;
        let mut names: Vec<_> = list.into_iter().filter_map(|n| n.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) async fn ensure_network(&self, spec: &NetworkSpec) -> Result<()> {
        // Docker 20.10 makes a second network of the same name without a word.
        let client = self.client()?;
        let inspect = client.inspect_network(&spec.name, None::<InspectNetworkOptions>);
        let digest = digest(spec).to_string();
        if let Some(found) = missing_is_fine(within(ASK, &spec.name, inspect).await.map(Some))? {
            let labels = found.labels.unwrap_or_default();
            let same = found.name.as_ref() == Some(&spec.name)
                && labels.get(LABEL_PRODUCT).map(String::as_str) == Some(spec.product.as_str())
                && labels.get(LABEL_SPEC) == Some(&digest);
            return if same {
                Ok(())
            } else {
                Err(EngineError::Conflict(format!("network {}", spec.name)))
            };
        }
        let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
        labels.insert(LABEL_PRODUCT.into(), spec.product.to_string());
        labels.insert(LABEL_NAME.into(), spec.label.clone());
        labels.insert(LABEL_GENERATION.into(), spec.generation.to_string());
        labels.insert(LABEL_SPEC.into(), digest);
        let request = NetworkCreateRequest {
            name: spec.name.clone(),
            driver: Some("bridge".into()),
            internal: Some(spec.internal),
            enable_ipv6: Some(spec.ipv6),
            ipam: spec.subnet.as_ref().map(|subnet| Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.clone()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            options: Some(spec.driver_opts.clone().into_iter().collect()),
            labels: Some(labels),
            ..NetworkCreateRequest::default()
        };
        within(WORK, &spec.name, client.create_network(request)).await?;
        Ok(())
    }

    pub(super) async fn drop_network(&self, name: &str) -> Result<()> {
        let client = self.client()?;
        match missing_is_fine(within(WORK, name, client.remove_network(name)).await) {
            // A killed Docker leaves endpoints of containers that are gone or down.
            Err(EngineError::Refused(why)) if why.contains("active endpoints") => {
                self.drop_endpoints(name).await?;
                missing_is_fine(within(WORK, name, client.remove_network(name)).await)
            }
            other => other,
        }
    }

    async fn drop_endpoints(&self, network: &str) -> Result<()> {
        let client = self.client()?;
        let request = client.inspect_network(network, None::<InspectNetworkOptions>);
        let found = missing_is_fine(within(ASK, network, request).await.map(Some))?;
        let endpoints = found.and_then(|n| n.containers).unwrap_or_default();
        for name in endpoints.into_values().filter_map(|e| e.name) {
            let state = self.raw(&name).await?.and_then(|c| c.state);
            if state.and_then(|s| s.running) != Some(true) {
                self.detach(network, &name, true).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn attach(
        &self,
        network: &str,
        container: &str,
        aliases: &[String],
    ) -> Result<()> {
        let found = self.raw(container).await?;
        let found = found.ok_or_else(|| EngineError::Missing(container.to_owned()))?;
        let running = found.state.and_then(|s| s.running) == Some(true);
        let networks = found.network_settings.and_then(|n| n.networks);
        if networks.unwrap_or_default().contains_key(network) {
            if !running
                || self
                    .is_member(network, &found.id.unwrap_or_default())
                    .await?
            {
                return Ok(());
            }
            self.leave(network, container).await?;
        }
        let Err(error) = self.try_attach(network, container, aliases).await else {
            return Ok(());
        };
        if !running || matches!(error, EngineError::Missing(_) | EngineError::Gone(_)) {
            return Err(error);
        }
        // Half way: the container has the interface, and its ports are not published.
        self.detach(network, container, true).await?;
        if self.try_attach(network, container, aliases).await.is_ok() {
            return Ok(());
        }
        self.leave(network, container).await?;
        // A second error would be about what the first one left.
        Err(error)
    }

    /// Whether the network knows of the container; what the container says of itself can be left
    /// over from a connect that failed.
    async fn is_member(&self, network: &str, id: &str) -> Result<bool> {
        let client = self.client()?;
        let request = client.inspect_network(network, None::<InspectNetworkOptions>);
        let found = within(ASK, network, request).await?;
        Ok(found.containers.is_some_and(|c| c.contains_key(id)))
    }

    /// Takes a running container off a network that it is half on.
    ///
    /// Docker 20.10 forgets the endpoint of a failed connect and leaves its interface in the
    /// container, in the way of every later one until the container ends. So where a disconnect
    /// does not help, it is started anew: nobody outside reaches it, so nobody sees it go.
    async fn leave(&self, network: &str, container: &str) -> Result<()> {
        self.detach(network, container, true).await?;
        let found = self.raw(container).await?;
        let networks = found.and_then(|c| c.network_settings?.networks);
        if networks.is_some_and(|n| n.contains_key(network)) {
            self.stop_container(container, RESTART_GRACE).await?;
            self.detach(network, container, true).await?;
            self.start_container(container).await?;
        }
        Ok(())
    }

    async fn try_attach(&self, network: &str, container: &str, aliases: &[String]) -> Result<()> {
        let client = self.client()?;
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(map::endpoint(aliases)),
        };
        within(WORK, network, client.connect_network(network, request)).await
    }

    pub(super) async fn detach(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let client = self.client()?;
        let request = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(force),
        };
        let request = client.disconnect_network(network, request);
        match missing_is_fine(within(WORK, network, request).await) {
            Err(EngineError::Refused(why)) if why.contains("is not connected to") => Ok(()),
            other => other,
        }
    }
}
