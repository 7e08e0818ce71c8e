//! What a bundle says, for people.

use berth_format::Digest;
use berth_format::channel::Channel;

use super::{Appliance, channel, release_info};
use crate::api::{BundleChannel, BundleInfo, Result, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::release::offer::Offer;

impl<E: Engine, H: Host> Appliance<E, H> {
    /// What counts of the vendor's word: that of the bundle, which is never older than what was
    /// kept, else what was kept.
    pub(super) fn said(&self, offer: Option<&Offer>) -> Result<Option<Channel>> {
        match offer.and_then(|offer| offer.channel.as_ref()) {
            Some(offered) => Ok(Some(offered.channel.clone())),
            None => self.kept_channel(),
        }
    }

    pub(super) fn bundle_info(&self, id: u64, offer: &Offer) -> Result<BundleInfo> {
        let store = &self.0.store;
        let releases = offer
            .releases
            .iter()
            .map(|(release, bytes)| {
                let digest = Digest::of(bytes);
                let held = store.release(&release.version).map_err(internal)?;
                let held = held.filter(|held| held.digest == digest);
                Ok(release_info(release, digest, held.as_ref()))
            })
            .collect::<Result<_>>()?;
        let channel = match &offer.channel {
            Some(offered) => Some(self.bundle_channel(offer, &offered.channel)?),
            None => None,
        };
        Ok(BundleInfo {
            id,
            product: offer.product.clone(),
            releases,
            size: offer.size,
            channel,
            berth: offer.berth.clone(),
        })
    }

    fn bundle_channel(&self, offer: &Offer, channel: &Channel) -> Result<BundleChannel> {
        let installed = self.0.store.installed().map_err(internal)?;
        let installed = installed.map(|installed| installed.version);
        let inside = offer.releases.iter().map(|(release, _)| &release.version);
        let mut versions: Vec<_> = installed.iter().chain(inside).collect();
        versions.sort();
        versions.dedup();
        let told = versions.into_iter();
        Ok(BundleChannel {
            name: channel.channel.clone(),
            serial: channel.serial,
            published: channel.published,
            expires: channel.expires,
            expired: offer.warning(self.0.host.now()).is_some(),
            told: told.filter_map(|v| channel::told(channel, v)).collect(),
        })
    }
}
