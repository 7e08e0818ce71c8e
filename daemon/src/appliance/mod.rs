//! The appliance: answers every question of [`crate::api::Api`], one update at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_format::{Code, Digest, Refusal, Release};
use semver::Version;
use tokio::sync::{OwnedMutexGuard, broadcast};

use crate::api::{
    ApplyRequest, Check, Notice, PlanAnswer, PlanRequest, ReleaseInfo, Result, RunSummary, Terms,
    internal,
};
use crate::engine::{Engine, EngineInfo};
use crate::host::Host;
use crate::notify::Outbox;
use crate::preflight::{self, Docker};
use crate::release::offer::{self, Offer};
use crate::store::{Run, Store, StoredRelease};
use crate::update::away::Away;
use crate::update::context::{Bring, Context, Outages};
use crate::update::plan::PlanKind;
use crate::update::planner::{self, Available, Planned, Wanted};
use crate::update::resolve::Place;
use crate::update::{Phase, driver, endure};

mod announce;
mod answers;
mod bring;
mod bundle;
mod channel;
mod config;
mod notifications;
mod place;
mod policy;
mod status;
mod supervise;
#[cfg(test)]
mod tests;
mod vitals;
mod watch;

/// How many bundles may be open at once; the oldest is forgotten.
const OFFERS: usize = 8;

/// Bytes that are held beside the journal while an update is under way.
const BALLAST: u64 = 4 << 20;

/// Lines that a slow listener may fall behind.
const NOTICES: usize = 1024;

/// One product on one machine. Cheap to clone.
pub struct Appliance<E, H>(Arc<Inner<E, H>>);

impl<E, H> Clone for Appliance<E, H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<E, H> {
    engine: E,
    host: H,
    store: Store,
    notices: broadcast::Sender<Notice>,
    offers: Mutex<BTreeMap<u64, Arc<Offer>>>,
    next_offer: AtomicU64,
    /// Held by whoever changes the stack: a run, or the supervisor for a moment.
    busy: Arc<tokio::sync::Mutex<()>>,
    away: Away,
    watch: watch::Watch,
    /// Held by whoever downloads.
    downloading: tokio::sync::Mutex<()>,
    outbox: Outbox,
    /// What Docker said of itself the last time.
    docker: Mutex<Option<EngineInfo>>,
}

impl<E: Engine, H: Host> Appliance<E, H> {
    /// An appliance over its state.
    pub fn open(store: Store, engine: E, host: H) -> Self {
        Self(Arc::new(Inner {
            engine,
            host,
            outbox: Outbox::new(store.clone()),
            store,
            notices: broadcast::Sender::new(NOTICES),
            offers: Mutex::new(BTreeMap::new()),
            next_offer: AtomicU64::new(1),
            busy: Arc::new(tokio::sync::Mutex::new(())),
            away: Away::default(),
            watch: watch::Watch::default(),
            downloading: tokio::sync::Mutex::default(),
            docker: Mutex::default(),
        }))
    }

    /// Takes up what was cut off. Returns when it is decided what to do, not when it is done.
    pub async fn recover(&self) -> Result<()> {
        let Some(mut run) = self.0.store.current().map_err(internal)? else {
            self.announce_missed();
            return Ok(());
        };
        let guard = Arc::clone(&self.0.busy).lock_owned().await;
        let ctx = self.context_patiently().await;
        endure::recover(&ctx, &mut run).await;
        if let Phase::Halted(_) = run.phase {
            log::error!("a rollback could not finish; nothing is started: `berth status`");
            self.announce_found(&run);
            return Ok(());
        }
        self.spawn(ctx, run, guard);
        Ok(())
    }

    fn spawn(&self, ctx: Context<E, H>, mut run: Run, guard: OwnedMutexGuard<()>) {
        let appliance = self.clone();
        // Its own task: a client that goes away cancels nothing.
        tokio::spawn(async move {
            endure::to_its_end(&ctx, &mut run).await;
            if run.phase == Phase::Idle {
                ctx.away.leave().await;
            }
            drop(ctx.host.release_ballast(&ctx.store.ballast()).await);
            drop(guard);
            ctx.tell(Notice::Ended(status::summary(&run)));
            appliance.announce_end(&run);
            log::info!("run {} ended in {}", run.id, run.phase);
        });
    }

    fn context(&self, place: Place, bring: Option<Bring>) -> Context<E, H> {
        Context {
            engine: self.0.engine.clone(),
            host: self.0.host.clone(),
            store: self.0.store.clone(),
            place,
            notices: self.0.notices.clone(),
            bring,
            outages: Outages::default(),
            away: self.0.away.clone(),
        }
    }

    /// At a boot Docker may come later than Berth.
    async fn context_patiently(&self) -> Context<E, H> {
        loop {
            match self.place().await {
                Ok(place) => return self.context(place, None),
                Err(refusal) => {
                    log::warn!("waiting for Docker: {refusal}");
                    self.0.host.sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Offer>>> {
        self.0.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, id: u64) -> Result<Arc<Offer>> {
        self.offers().get(&id).cloned().ok_or_else(|| {
            Refusal::new(Code::NotFound, "this bundle is not open any more")
                .next("Hand the bundle over again.")
        })
    }

    fn accept(&self, file: &File, terms: Terms) -> Result<(u64, Arc<Offer>)> {
        let offer = Arc::new(offer::read(file, &self.0.store, terms, self.0.host.now())?);
        let mut offers = self.offers();
        let id = self.0.next_offer.fetch_add(1, Ordering::Relaxed);
        offers.insert(id, Arc::clone(&offer));
        while offers.len() > OFFERS {
            offers.pop_first();
        }
        Ok((id, offer))
    }

    fn planned(
        &self,
        request: &PlanRequest,
        place: &Place,
    ) -> Result<(Planned, Option<Arc<Offer>>)> {
        let offer = request.bundle.map(|id| self.offer(id)).transpose()?;
        let now = self.0.host.now();
        if let Some(offer) = &offer {
            offer.must_still_hold(&self.0.store, now)?;
            offer.must_be_for(request.kind)?;
        }
        let installed = self.0.store.installed().map_err(internal)?;
        let channel = self.said(offer.as_deref())?;
        let offered: Vec<Available> = match &offer {
            Some(offer) => offer
                .releases
                .iter()
                .map(|(release, bytes)| (release.clone(), Digest::of(bytes)))
                .collect(),
            None => self.of_channel(installed.as_ref().map(|i| &i.version))?,
        };
        let withdrawn = channel.iter().flat_map(|channel| {
            let all = channel.releases.keys();
            all.filter_map(|v| Some((v.clone(), channel::withdrawn(channel, v)?)))
        });
        let withdrawn: BTreeMap<_, _> = withdrawn.collect();
        let wanted = Wanted {
            kind: request.kind,
            to: request.to.as_ref(),
            retry_quarantined: request.retry_quarantined,
            offered: &offered,
            withdrawn: &withdrawn,
            download: offer.is_none(),
        };
        let mut planned = planner::make(&self.0.store, place, &wanted)?;
        let warning = offer.as_ref().and_then(|offer| offer.warning(now));
        planned.plan.warnings.extend(warning);
        Ok((planned, offer))
    }

    /// What the channel offers beyond what runs.
    fn of_channel(&self, installed: Option<&Version>) -> Result<Vec<Available>> {
        let offered = self.0.store.offered().map_err(internal)?;
        Ok(offered
            .into_iter()
            .filter(|(release, _)| installed.is_none_or(|i| release.version > *i))
            .map(|(release, bytes)| (release, Digest::of(&bytes)))
            .collect())
    }

    async fn checks(
        &self,
        ctx: &Context<E, H>,
        planned: &Planned,
        docker: &Docker,
    ) -> Result<Vec<Check>> {
        let installed = self.0.store.installed().map_err(internal)?;
        let old = match installed {
            Some(installed) => {
                let stored = self.0.store.release(&installed.version).map_err(internal)?;
                stored.map(|stored| (stored.release, installed))
            }
            None => None,
        };
        Ok(preflight::run(ctx, planned, old.as_ref(), docker).await)
    }

    async fn answer_plan(&self, request: &PlanRequest) -> Result<PlanAnswer> {
        let (place, docker) = self.survey().await;
        let (planned, _) = self.planned(request, &place)?;
        let ctx = self.context(place, None);
        let checks = self.checks(&ctx, &planned, &docker).await?;
        Ok(PlanAnswer {
            digest: planned.plan.digest(),
            plan: planned.plan,
            checks,
        })
    }

    async fn begin(&self, request: ApplyRequest) -> Result<RunSummary> {
        let busy = || Refusal::new(Code::Busy, "another update or rollback is under way");
        if self.0.store.current().map_err(internal)?.is_some() {
            return Err(busy());
        }
        // The supervisor holds it for a moment only.
        let patience = Duration::from_secs(30);
        let guard = tokio::time::timeout(patience, Arc::clone(&self.0.busy).lock_owned())
            .await
            .map_err(|_| busy())?;
        if self.0.store.current().map_err(internal)?.is_some() {
            return Err(busy());
        }
        // A download for later makes room.
        self.0.watch.look();
        let (place, docker) = self.survey().await;
        let (planned, offer) = self.planned(&request.plan, &place)?;
        agreed(&request, &planned)?;
        let ctx = self.context(place, None);
        let checks = self.checks(&ctx, &planned, &docker).await?;
        if let Some(refusal) = preflight::verdict(&checks) {
            return Err(refusal);
        }
        self.keep(&request, &planned, offer.as_deref())?;
        let ballast = self.0.store.ballast();
        self.0
            .host
            .ballast(&ballast, BALLAST)
            .await
            .map_err(|error| {
                Refusal::new(Code::DiskSpace, "there is no room for Berth's own journal")
                    .found(error.to_string())
            })?;
        let phase = crate::update::transition::next(Phase::Idle, crate::update::Event::Begun)
            .map_err(internal)?;
        let at = self.0.host.now();
        let run = self
            .0
            .store
            .begin(&planned.plan, &planned.values, phase, at)
            .map_err(internal)?;
        let follows = self.0.store.following().map_err(internal)?.is_some();
        let bring = offer
            .map(|offer| self.bring(offer, run.id))
            .or_else(|| follows.then(|| self.bring_from_channel(run.id)));
        let summary = status::summary(&run);
        self.announce_begun(&run);
        self.spawn(Context { bring, ..ctx }, run, guard);
        Ok(summary)
    }

    /// Keeps the verified releases of a plan.
    fn keep(&self, request: &ApplyRequest, planned: &Planned, offer: Option<&Offer>) -> Result<()> {
        let store = &self.0.store;
        if let Some(offer) = offer {
            for (release, bytes) in &offer.releases {
                let digest = Digest::of(bytes);
                if planned.plan.hops.iter().any(|hop| hop.release == digest) {
                    store.put_release(release, bytes).map_err(internal)?;
                }
            }
        }
        if offer.is_none() {
            for (release, bytes) in store.offered().map_err(internal)? {
                let digest = Digest::of(&bytes);
                if planned.plan.hops.iter().any(|hop| hop.release == digest) {
                    store.put_release(&release, &bytes).map_err(internal)?;
                }
            }
        }
        if request.plan.retry_quarantined {
            for release in &planned.releases {
                store.set_failed(&release.version, None).map_err(internal)?;
            }
        }
        Ok(())
    }

    async fn take_up(&self) -> Result<RunSummary> {
        let halted = self.0.store.current().map_err(internal)?;
        let Some(mut run) = halted.filter(|run| matches!(run.phase, Phase::Halted(_))) else {
            return Err(Refusal::new(Code::NoWayBack, "no rollback stands still"));
        };
        let Ok(guard) = Arc::clone(&self.0.busy).try_lock_owned() else {
            return Err(Refusal::new(
                Code::Busy,
                "another update or rollback is under way",
            ));
        };
        let ctx = self.context(self.place().await?, None);
        driver::resume(&ctx, &mut run).map_err(internal)?;
        let summary = status::summary(&run);
        self.spawn(ctx, run, guard);
        Ok(summary)
    }
}

/// What only the admin can say.
fn agreed(request: &ApplyRequest, planned: &Planned) -> Result<()> {
    let plan = &planned.plan;
    if let Some(expected) = request.digest {
        let found = plan.digest();
        if expected != found {
            return Err(Refusal::new(Code::PlanMoved, "the plan no longer fits")
                .because(expected.to_string(), found.to_string()));
        }
    }
    if !plan.grants.is_empty() && !request.accept_grants {
        let list: Vec<String> = plan
            .grants
            .iter()
            .map(|g| {
                format!("{}: {:?} {}", g.service, g.kind, g.detail)
                    .trim_end()
                    .to_owned()
            })
            .collect();
        let summary = "the release asks for more than a container, and nobody has agreed";
        return Err(Refusal::new(Code::GrantsNotAccepted, summary).found(list.join("; ")));
    }
    if plan.kind == PlanKind::Rollback && request.confirm.as_deref() != Some(&plan.to.to_string()) {
        let found = request
            .confirm
            .clone()
            .unwrap_or_else(|| "nothing".to_owned());
        return Err(
            Refusal::new(Code::ConfirmationWanted, plan.warnings.join(" "))
                .because(format!("the version typed: {}", plan.to), found)
                .next(format!(
                    "If that is what you want: `berth rollback --confirm {}`.",
                    plan.to
                )),
        );
    }
    Ok(())
}

fn release_info(release: &Release, digest: Digest, held: Option<&StoredRelease>) -> ReleaseInfo {
    ReleaseInfo {
        version: release.version.clone(),
        title: release.title.clone(),
        digest,
        notes: release.notes.clone(),
        stop: release.upgrade.stop,
        fetched: held.is_some_and(|h| h.fetched),
        failed: held.and_then(|h| h.failed.clone()),
    }
}
