//! Named volumes of the `local` driver.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use berth_format::Product;
use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::{ASK, Docker, WORK, map, missing_is_fine, within};
use crate::engine::{EngineError, LABEL_NAME, LABEL_PRODUCT, Result, VolumeSpec};

impl Docker {
    pub(super) async fn volumes_of(&self, product: &Product) -> Result<Vec<String>> {
        let filters = map::filters([("label", format!("{LABEL_PRODUCT}={product}"))]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let client = self.client()?;
        let list = within(ASK, "volumes", client.list_volumes(Some(options))).await?;
        let mut names: Vec<_> = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|v| v.name)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn volume(&self, name: &str) -> Result<Option<Volume>> {
        let client = self.client()?;
        missing_is_fine(
            within(ASK, name, client.inspect_volume(name))
                .await
                .map(Some),
        )
    }

    pub(super) async fn ensure_volume(&self, spec: &VolumeSpec) -> Result<()> {
        // A volume outlives its labels: what counts is whose it is and where its data lies.
        if let Some(found) = self.volume(&spec.name).await? {
            let options: BTreeMap<_, _> = found.options.into_iter().collect();
            let same = found.labels.get(LABEL_PRODUCT).map(String::as_str)
                == Some(spec.product.as_str())
                && options == spec.driver_opts;
            return if same {
                Ok(())
            } else {
                Err(EngineError::Conflict(format!("volume {}", spec.name)))
            };
        }
        let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
        labels.insert(LABEL_PRODUCT.into(), spec.product.to_string());
        labels.insert(LABEL_NAME.into(), spec.label.to_string());
        let request = VolumeCreateRequest {
            name: Some(spec.name.clone()),
            driver: Some("local".into()),
            driver_opts: Some(spec.driver_opts.clone().into_iter().collect()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let client = self.client()?;
        within(WORK, &spec.name, client.create_volume(request)).await?;
        Ok(())
    }

    pub(super) async fn path_of_volume(&self, name: &str) -> Result<Option<PathBuf>> {
        Ok(self.volume(name).await?.map(|v| v.mountpoint.into()))
    }

    pub(super) async fn drop_volume(&self, name: &str) -> Result<()> {
        let client = self.client()?;
        let request = client.remove_volume(name, None::<RemoveVolumeOptions>);
        missing_is_fine(within(WORK, name, request).await)
    }
}
