//! [`Api`], answered.

use std::collections::BTreeMap;
use std::fs::File;

use berth_format::root::Root;
use berth_format::{Code, Digest, Name, Refusal};
use futures_util::StreamExt;
use semver::Version;
use tokio::sync::{broadcast, mpsc};

use super::{Appliance, channel, release_info, status};
use crate::api::{
    Api, ApplyRequest, BundleForm, BundleInfo, ChannelStatus, ConfigValue, LogLine, Notice,
    PlanAnswer, PlanRequest, PolicyStatus, ReleaseInfo, Result, RunDetail, RunSummary, Status,
    Terms, TrustInfo, internal,
};
use crate::engine::docker::{Docker, LogStream};
use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::notify::{Delivery, Notifications, Receiver, Tested};
use crate::schedule::Policy;
use crate::store::{ChannelSettings, Mended, Trust};

/// The most lines of a journal in one answer.
const ENTRIES: u32 = 10_000;

impl<H: Host> Api for Appliance<Docker, H> {
    async fn status(&self) -> Result<Status> {
        self.answer_status().await
    }

    fn trust_info(&self) -> Result<TrustInfo> {
        let trust = self.0.store.trust().map_err(internal)?;
        let root = trust
            .root
            .as_deref()
            .and_then(|text| Root::parse(text.as_bytes()).ok());
        Ok(TrustInfo {
            fingerprint: trust.fingerprint,
            product: root.as_ref().map(|r| r.product.clone()),
            expires: root.map(|r| r.expires),
        })
    }

    fn trust(&self, fingerprint: Digest, replace: bool) -> Result<TrustInfo> {
        let trust = self.0.store.trust().map_err(internal)?;
        match trust.fingerprint {
            Some(pinned) if pinned == fingerprint => {}
            Some(pinned) if !replace => {
                let summary = "another root is trusted already";
                return Err(Refusal::new(Code::TrustFingerprint, summary)
                    .because(pinned.to_string(), fingerprint.to_string())
                    .next("If the vendor changed, say --replace."));
            }
            _ => {
                let trust = Trust {
                    fingerprint: Some(fingerprint),
                    ..Trust::default()
                };
                self.0.store.set_trust(&trust).map_err(internal)?;
                // What the root before vouched for is vouched for no longer.
                self.offers().clear();
            }
        }
        self.trust_info()
    }

    async fn open_bundle(&self, file: File, terms: Terms) -> Result<BundleInfo> {
        let appliance = self.clone();
        let accept = move || {
            let (id, offer) = appliance.accept(&file, terms)?;
            appliance.bundle_info(id, &offer)
        };
        tokio::task::spawn_blocking(accept)
            .await
            .map_err(internal)?
    }

    async fn verify_bundle(
        &self,
        file: File,
        terms: Terms,
        progress: mpsc::Sender<(u64, u64)>,
    ) -> Result<BundleInfo> {
        let appliance = self.clone();
        let verify = move || appliance.verify(&file, terms, &progress);
        tokio::task::spawn_blocking(verify)
            .await
            .map_err(internal)?
    }

    fn releases(&self) -> Result<Vec<ReleaseInfo>> {
        let held = self.0.store.releases().map_err(internal)?;
        Ok(held
            .iter()
            .map(|h| release_info(&h.release, h.digest, Some(h)))
            .collect())
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanAnswer> {
        self.answer_plan(&request).await
    }

    async fn apply(&self, request: ApplyRequest) -> Result<RunSummary> {
        let appliance = self.clone();
        // Its own task: once begun it does not depend on who asked.
        tokio::spawn(async move { appliance.begin(request).await })
            .await
            .map_err(internal)?
    }

    async fn resume(&self) -> Result<RunSummary> {
        self.take_up().await
    }

    fn channel(&self) -> Result<ChannelStatus> {
        self.answer_channel()
    }

    async fn set_channel(&self, settings: Option<ChannelSettings>) -> Result<()> {
        if let Some(settings) = &settings {
            channel::must_be_ready(settings).await?;
        }
        self.0
            .store
            .set_following(settings.as_ref())
            .map_err(internal)?;
        self.0.watch.ask();
        Ok(())
    }

    async fn check_channel(&self) -> Result<ChannelStatus> {
        self.answer_check().await
    }

    fn policy(&self) -> Result<PolicyStatus> {
        self.answer_policy()
    }

    fn set_policy(&self, policy: Policy) -> Result<PolicyStatus> {
        self.take_policy(&policy)
    }

    fn notifications(&self) -> Result<Notifications> {
        self.answer_notifications()
    }

    fn set_receiver(&self, name: &Name, receiver: Option<&Receiver>) -> Result<Notifications> {
        self.answer_set_receiver(name, receiver)
    }

    async fn test_notifications(&self, only: Option<&Name>) -> Result<Vec<Tested>> {
        self.answer_test(only).await
    }

    fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>> {
        self.answer_deliveries(limit)
    }

    fn history(&self, limit: u32) -> Result<Vec<RunSummary>> {
        Ok(self
            .0
            .store
            .history(limit)
            .map_err(internal)?
            .iter()
            .map(status::summary)
            .collect())
    }

    fn run(&self, id: i64) -> Result<RunDetail> {
        let Some(run) = self.0.store.run(id).map_err(internal)? else {
            return Err(Refusal::new(
                Code::NotFound,
                format!("there is no update {id}"),
            ));
        };
        let entries = self.0.store.entries(id, 0, ENTRIES).map_err(internal)?;
        Ok(RunDetail {
            run: status::summary(&run),
            plan: run.plan,
            entries,
        })
    }

    fn mended(&self, limit: u32) -> Result<Vec<Mended>> {
        self.0.store.mended(limit).map_err(internal)
    }

    fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    fn config(&self) -> Result<Vec<ConfigValue>> {
        self.answer_config()
    }

    fn set_config(&self, values: BTreeMap<String, Option<String>>) -> Result<Vec<ConfigValue>> {
        self.answer_set_config(values)
    }

    async fn logs(
        &self,
        service: &Name,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>> {
        let installed = self.0.store.installed().map_err(internal)?;
        let Some(placed) = installed.and_then(|mut i| i.services.remove(service)) else {
            return Err(Refusal::new(
                Code::NotFound,
                format!("there is no service {service}"),
            ));
        };
        let container = placed.container.as_str();
        let gone = |error: EngineError| {
            let code = match error {
                EngineError::Gone(_) => Code::EngineGone,
                _ => Code::EngineRefused,
            };
            Refusal::new(code, "the log cannot be read").found(error.to_string())
        };
        // Asked first: a Docker that does not answer is no empty log.
        self.0.engine.inspect(container).await.map_err(gone)?;
        let lines = self.0.engine.logs(container, tail, follow).map_err(gone)?;
        let (sender, receiver) = mpsc::channel(256);
        let service = service.clone();
        tokio::spawn(async move {
            let mut lines = std::pin::pin!(lines);
            while let Some(Ok(line)) = lines.next().await {
                let stream = match line.stream {
                    LogStream::Stdout => "stdout",
                    LogStream::Stderr => "stderr",
                };
                let (service, stream) = (service.clone(), stream.to_owned());
                let line = LogLine {
                    service,
                    stream,
                    at: line.at,
                    line: line.text,
                };
                if sender.send(line).await.is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }

    fn bundle_form(&self, id: u64, version: Option<&Version>) -> Result<BundleForm> {
        self.answer_form(id, version)
    }

    fn channel_form(&self, version: Option<&Version>) -> Result<BundleForm> {
        self.answer_channel_form(version)
    }
}

impl<H: Host> Appliance<Docker, H> {
    fn verify(
        &self,
        file: &File,
        terms: Terms,
        progress: &mpsc::Sender<(u64, u64)>,
    ) -> Result<BundleInfo> {
        let (id, offer) = self.accept(file, terms)?;
        let mut file = offer.reopen().map_err(internal)?;
        berth_format::bundle::verify_whole(&mut file, &offer.root, |done, total| {
            // Progress that nobody takes in time is only progress.
            progress.try_send((done, total)).ok();
        })
        .map_err(|error| error.refusal())?;
        self.bundle_info(id, &offer)
    }
}
