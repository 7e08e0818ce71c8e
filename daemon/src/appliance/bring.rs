//! Brings the images of an offered bundle into Docker.

use std::sync::Arc;

use berth_format::{Refusal, Release};
use semver::Version;

use super::Appliance;
use crate::api::{Notice, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::release::import::{self, Known, Phase, Progress, Source};
use crate::release::offer::Offer;
use crate::update::context::Bring;

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) fn bring(&self, offer: Arc<Offer>, run: i64) -> Bring {
        let appliance = self.clone();
        Arc::new(move |versions: Vec<Version>| {
            let (appliance, offer) = (appliance.clone(), Arc::clone(&offer));
            Box::pin(async move { appliance.bring_in(&offer, run, &versions).await })
        })
    }

    async fn bring_in(&self, offer: &Offer, run: i64, versions: &[Version]) -> Result<(), Refusal> {
        let wanted: Vec<Release> = offer
            .releases
            .iter()
            .map(|(release, _)| release)
            .filter(|release| versions.contains(&release.version))
            .cloned()
            .collect();
        let known = self.known().await?;
        let source = Source::Bundle {
            file: offer.reopen().map_err(internal)?,
            root: offer.root.clone(),
        };
        self.import(run, source, &wanted, &known).await
    }

    /// Imports releases, and tells who listens how far it is.
    pub(super) async fn import(
        &self,
        run: i64,
        source: Source,
        releases: &[Release],
        known: &Known,
    ) -> Result<(), Refusal> {
        let notices = self.0.notices.clone();
        let tell = move |progress: Progress| {
            let what = match progress.phase {
                Phase::Reading => "fetch",
                Phase::Unpacking => "unpack",
                Phase::Syncing => "write to disk",
            };
            let (what, done, total) = (what.to_owned(), progress.done, progress.total);
            // An error only says that nobody listens.
            drop(notices.send(Notice::Progress {
                run,
                what,
                done,
                total,
            }));
        };
        let (engine, files) = (&self.0.engine, self.0.store.files_dir());
        let imported = import::import(engine, source, releases, known, &files, tell)
            .await
            .map_err(|error| error.refusal())?;
        log::info!(
            "fetched {} layers, {} were here, {} bytes read",
            imported.layers,
            imported.known,
            imported.bytes
        );
        Ok(())
    }

    /// Layers of releases that the journal marks as fetched and whose images are all there.
    pub(super) async fn known(&self) -> Result<Known, Refusal> {
        let mut known = Known::none();
        let ctx = self.context(self.place().await?, None);
        for stored in self.0.store.releases().map_err(internal)? {
            let there = crate::update::is_fetched(&ctx, &stored.release.version).await;
            if matches!(there, Ok(true)) {
                known.add(&stored.release, &ctx.place.platform);
            }
        }
        Ok(known)
    }
}
