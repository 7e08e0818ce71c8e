//! A small appliance for tests of what carries the API: it holds what it was told to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use berth_format::config::FieldKind;
use berth_format::release::MigrationPhase;
use berth_format::{Code, Digest, Name, Refusal};
use jiff::{SignedDuration, Timestamp};
use semver::Version;
use tokio::sync::{broadcast, mpsc};

use crate::api::{
    Api, ApplyRequest, BundleForm, BundleInfo, ChannelRelease, ChannelStatus, Check, ConfigValue,
    LogLine, Notice, Overall, PlanAnswer, PlanRequest, PolicyStatus, ReleaseInfo, Result,
    RunDetail, RunSummary, ServiceStatus, Status, Terms, TrustInfo,
};
use crate::notify::{Delivery, Notifications, Receiver, ReceiverStatus, Tested};
use crate::schedule::Policy;
use crate::store::{ChannelSettings, Ended, Entry, Outcome};
use crate::update::plan::{Action, Change, Hop, Plan, PlanKind, PlannedMigration};
use crate::update::{Event, Phase, Step, Undo};

#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    notices: broadcast::Sender<Notice>,
}

pub(crate) struct Inner {
    pub status: Status,
    pub trust: TrustInfo,
    pub plan: PlanAnswer,
    pub run: Option<RunDetail>,
    pub config: Vec<ConfigValue>,
    /// What was in the bundles that were opened.
    pub opened: Vec<String>,
    /// How the last one was to be taken.
    pub terms: Terms,
    pub applied: Vec<ApplyRequest>,
    /// `apply` takes so long.
    pub slow: Duration,
    pub panics: bool,
    pub channel: Option<ChannelStatus>,
    pub policy: PolicyStatus,
    pub receivers: BTreeMap<Name, Receiver>,
    pub deliveries: Vec<Delivery>,
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_790_000_000 + second)
}

impl Fake {
    pub(crate) fn new() -> Self {
        let plan = plan();
        let inner = Inner {
            status: Status {
                berth: "0.1.0".into(),
                product: Some("lantern".parse().unwrap()),
                title: Some("Lantern".into()),
                version: Some(version("1.0.0")),
                committed: Some(at(0)),
                generation: 1,
                state: Overall::Healthy,
                summary: "Lantern is running well.".into(),
                services: vec![ServiceStatus {
                    name: name("db"),
                    good: true,
                    summary: "healthy".into(),
                    container: None,
                    ports: vec!["127.0.0.1:3080 -> 3080/tcp".into()],
                }],
                run: None,
                engine_error: None,
                previous: None,
                available: vec![version("1.1.0")],
            },
            trust: TrustInfo {
                fingerprint: None,
                product: None,
                expires: None,
            },
            plan: PlanAnswer {
                digest: plan.digest(),
                plan,
                checks: vec![Check {
                    name: "disk".into(),
                    summary: "20 GB are free.".into(),
                    refusal: None,
                }],
            },
            run: None,
            config: vec![
                field("EXTERNAL_URL", FieldKind::Url),
                field("DB_PASSWORD", FieldKind::Secret),
            ],
            opened: Vec::new(),
            terms: Terms::default(),
            applied: Vec::new(),
            slow: Duration::ZERO,
            channel: None,
            policy: PolicyStatus {
                policy: Policy::default(),
                intent: None,
                held: Vec::new(),
                refused: None,
                next_check: None,
                check_failed: None,
            },
            receivers: BTreeMap::new(),
            deliveries: Vec::new(),
            panics: false,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            notices: broadcast::channel(16).0,
        }
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Writes a line of the journal, then tells of it.
    pub(crate) fn journal(&self, phase: Phase, event: Event, second: i64, detail: &str) {
        let entry = {
            let mut inner = self.get();
            let detail_of = inner.run.as_mut().unwrap();
            let seq = i64::try_from(detail_of.entries.len()).unwrap() + 1;
            let entry = Entry {
                seq,
                run: detail_of.run.id,
                hop: 0,
                at: at(second),
                phase,
                event,
                detail: detail.to_owned(),
            };
            detail_of.run.phase = phase;
            detail_of.entries.push(entry.clone());
            entry
        };
        let _ = self.notices.send(Notice::Journal(entry));
    }

    pub(crate) fn notice(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    pub(crate) fn end(&self, outcome: Outcome, failure: Option<Refusal>) {
        let run = {
            let mut inner = self.get();
            let detail = inner.run.as_mut().unwrap();
            detail.run.ended = Some(Ended {
                at: at(60),
                outcome,
            });
            detail.run.failure = failure;
            detail.run.clone()
        };
        let _ = self.notices.send(Notice::Ended(run));
    }

    pub(crate) fn begin(&self) -> RunSummary {
        let mut inner = self.get();
        let run = RunSummary {
            id: 7,
            kind: inner.plan.plan.kind,
            from: inner.plan.plan.from.clone(),
            to: inner.plan.plan.to.clone(),
            hop: 0,
            hops: 1,
            phase: Phase::Forward(Step::Fetch),
            started: at(0),
            ended: None,
            failure: None,
        };
        inner.run = Some(RunDetail {
            run: run.clone(),
            plan: inner.plan.plan.clone(),
            entries: Vec::new(),
        });
        run
    }

    /// A whole update that goes well: away from second 2 to second 11.
    pub(crate) fn goes_well(&self) {
        for (step, from, to) in [
            (Step::Fetch, 0, 2),
            (Step::Stop, 2, 3),
            (Step::Start, 3, 9),
            (Step::Open, 9, 11),
        ] {
            self.journal(Phase::Forward(step), Event::Begun, from, "");
            self.journal(Phase::Forward(step), Event::Done, to, "");
        }
        self.end(Outcome::Committed, None);
    }

    /// One whose new version is not healthy.
    pub(crate) fn goes_back(&self) {
        self.journal(Phase::Forward(Step::Start), Event::Begun, 3, "");
        self.journal(
            Phase::Forward(Step::Start),
            Event::Failed,
            9,
            "frontend answered 500",
        );
        self.journal(Phase::Back(Undo::Halt), Event::Begun, 9, "");
        self.journal(Phase::Back(Undo::Halt), Event::Done, 10, "");
        let refusal = Refusal::new(Code::Unhealthy, "frontend did not become healthy")
            .log(vec![
                "answered 500".into(),
                String::new(),
                "panicked at main.rs".into(),
            ])
            .effect(berth_format::Effect::RolledBackTo("1.0.0".into()));
        self.end(Outcome::RolledBack, Some(refusal));
    }
}

pub(crate) fn plan() -> Plan {
    let change = |action, old: Option<&str>| Change {
        action,
        old: old.map(str::to_owned),
        new: None,
        spec: None,
        generation: 2,
    };
    Plan {
        product: "lantern".parse().unwrap(),
        title: "Lantern".into(),
        kind: PlanKind::Update,
        from: Some(version("1.0.0")),
        to: version("1.1.0"),
        hops: vec![Hop {
            from: Some(version("1.0.0")),
            to: version("1.1.0"),
            release: Digest::of(b"1.1.0"),
            generation: 2,
            services: BTreeMap::from([
                (
                    name("cache"),
                    change(Action::Cycle, Some("lantern-cache-1")),
                ),
                (
                    name("frontend"),
                    change(Action::Replace, Some("lantern-frontend-1")),
                ),
                (
                    name("gateway"),
                    change(Action::Keep, Some("lantern-gateway-1")),
                ),
            ]),
            networks: BTreeMap::new(),
            new_volumes: Vec::new(),
            snapshot: vec!["lantern_db".into()],
            not_covered: Vec::new(),
            migrations: vec![PlannedMigration {
                name: name("schema-12"),
                phase: MigrationPhase::Stopped,
                reversible: false,
                container: "lantern-schema-12-2".into(),
            }],
            data_may_change: true,
            restore: None,
        }],
        grants: Vec::new(),
        fetch_bytes: 84_200_000,
        download_bytes: 0,
        warnings: vec!["The volume media is on NFS: a rollback does not bring it back.".into()],
    }
}

pub(crate) fn field(name: &str, kind: FieldKind) -> ConfigValue {
    ConfigValue {
        name: name.into(),
        kind,
        label: format!("The {name}"),
        help: String::new(),
        required: true,
        choices: Vec::new(),
        set: false,
        value: None,
    }
}

fn bundle(id: u64, size: u64) -> BundleInfo {
    BundleInfo {
        id,
        product: "lantern".parse().unwrap(),
        releases: vec![ReleaseInfo {
            version: version("1.1.0"),
            title: "Lantern".into(),
            digest: Digest::of(b"1.1.0"),
            notes: String::new(),
            stop: false,
            fetched: false,
            failed: None,
        }],
        size,
        channel: None,
        berth: None,
    }
}

impl Api for Fake {
    async fn status(&self) -> Result<Status> {
        assert!(!self.get().panics, "as asked");
        Ok(self.get().status.clone())
    }

    fn trust_info(&self) -> Result<TrustInfo> {
        Ok(self.get().trust.clone())
    }

    fn trust(&self, fingerprint: Digest, replace: bool) -> Result<TrustInfo> {
        let mut inner = self.get();
        if inner.trust.fingerprint.is_some_and(|f| f != fingerprint) && !replace {
            return Err(Refusal::new(
                Code::TrustFingerprint,
                "another root is trusted",
            ));
        }
        inner.trust.fingerprint = Some(fingerprint);
        Ok(inner.trust.clone())
    }

    async fn open_bundle(&self, mut file: File, terms: Terms) -> Result<BundleInfo> {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let mut inner = self.get();
        let size = text.len() as u64;
        inner.opened.push(text);
        inner.terms = terms;
        Ok(bundle(inner.opened.len() as u64, size))
    }

    async fn verify_bundle(
        &self,
        file: File,
        terms: Terms,
        progress: mpsc::Sender<(u64, u64)>,
    ) -> Result<BundleInfo> {
        let size = file.metadata().unwrap().len();
        self.get().terms = terms;
        progress.send((size / 2, size)).await.unwrap();
        if size < 4 {
            return Err(Refusal::new(
                Code::BundleTruncated,
                "the bundle ends too early",
            ));
        }
        Ok(bundle(1, size))
    }

    fn releases(&self) -> Result<Vec<ReleaseInfo>> {
        Ok(bundle(1, 0).releases)
    }

    async fn plan(&self, request: PlanRequest) -> Result<PlanAnswer> {
        let mut answer = self.get().plan.clone();
        answer.plan.kind = request.kind;
        answer.digest = answer.plan.digest();
        Ok(answer)
    }

    async fn apply(&self, request: ApplyRequest) -> Result<RunSummary> {
        let slow = self.get().slow;
        tokio::time::sleep(slow).await;
        self.get().applied.push(request);
        Ok(self.begin())
    }

    async fn resume(&self) -> Result<RunSummary> {
        Err(Refusal::new(Code::NoWayBack, "nothing stands still"))
    }

    fn channel(&self) -> Result<ChannelStatus> {
        let channel = self.get().channel.clone();
        channel.ok_or_else(|| Refusal::new(Code::ChannelMissing, "no channel is followed"))
    }

    async fn set_channel(&self, settings: Option<ChannelSettings>) -> Result<()> {
        self.get().channel = settings.map(|settings| ChannelStatus {
            settings,
            serial: None,
            expires: None,
            checked: None,
            releases: Vec::new(),
            installed: None,
            offer: None,
        });
        Ok(())
    }

    async fn check_channel(&self) -> Result<ChannelStatus> {
        let mut channel = self.channel()?;
        channel.serial = Some(7);
        channel.releases.push(ChannelRelease {
            version: version("1.1.0"),
            published: at(0),
            security: false,
            offered: false,
            withdrawn: None,
            instead: None,
        });
        channel.installed = Some("The vendor has withdrawn 1.0.0: it loses mail.".into());
        Ok(channel)
    }

    fn policy(&self) -> Result<PolicyStatus> {
        Ok(self.get().policy.clone())
    }

    fn set_policy(&self, policy: Policy) -> Result<PolicyStatus> {
        policy.check(false)?;
        self.get().policy.policy = policy;
        self.policy()
    }

    fn notifications(&self) -> Result<Notifications> {
        let inner = self.get();
        let receivers = inner.receivers.iter().map(|(name, receiver)| {
            let status = ReceiverStatus {
                receiver: receiver.shown(),
                waiting: 2,
                last: inner
                    .deliveries
                    .iter()
                    .find(|d| d.receiver == *name)
                    .cloned(),
            };
            (name.clone(), status)
        });
        Ok(Notifications {
            receivers: receivers.collect(),
        })
    }

    fn set_receiver(&self, name: &Name, receiver: Option<&Receiver>) -> Result<Notifications> {
        let receivers = &mut self.get().receivers;
        let before = match receiver {
            Some(receiver) => receivers.insert(name.clone(), receiver.clone()),
            None => receivers.remove(name),
        };
        if receiver.is_none() && before.is_none() {
            return Err(Refusal::new(Code::NotFound, "nobody of this name is told"));
        }
        Ok(Notifications {
            receivers: BTreeMap::new(),
        })
    }

    /// The webhook does not work.
    async fn test_notifications(&self, only: Option<&Name>) -> Result<Vec<Tested>> {
        let names: Vec<Name> = self.get().receivers.keys().cloned().collect();
        let wanted = names.into_iter().filter(|n| only.is_none_or(|o| n == o));
        let tested = wanted.map(|receiver| Tested {
            refusal: (receiver.as_str() == "webhook")
                .then(|| Refusal::new(Code::NotifyFailed, "x").found("hooks.example: 503")),
            receiver,
            millis: 120,
        });
        Ok(tested.collect())
    }

    fn deliveries(&self, _: u32) -> Result<Vec<Delivery>> {
        Ok(self.get().deliveries.clone())
    }

    fn history(&self, _: u32) -> Result<Vec<RunSummary>> {
        Ok(self.get().run.iter().map(|d| d.run.clone()).collect())
    }

    fn run(&self, id: i64) -> Result<RunDetail> {
        let run = self.get().run.clone().filter(|detail| detail.run.id == id);
        run.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such update"))
    }

    fn mended(&self, _: u32) -> Result<Vec<crate::store::Mended>> {
        Ok(Vec::new())
    }

    fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn config(&self) -> Result<Vec<ConfigValue>> {
        Ok(self.get().config.clone())
    }

    fn set_config(&self, values: BTreeMap<String, Option<String>>) -> Result<Vec<ConfigValue>> {
        let mut inner = self.get();
        for (name, value) in values {
            let Some(field) = inner.config.iter_mut().find(|f| f.name == name) else {
                return Err(Refusal::new(Code::ConfigUnknown, "there is no such field"));
            };
            field.set = value.is_some();
            field.value = value.filter(|_| field.kind != FieldKind::Secret);
        }
        Ok(inner.config.clone())
    }

    async fn logs(&self, service: &Name, tail: usize, _: bool) -> Result<mpsc::Receiver<LogLine>> {
        let (sender, receiver) = mpsc::channel(16);
        let service = service.clone();
        tokio::spawn(async move {
            for n in 0..tail {
                let line = LogLine {
                    service: service.clone(),
                    stream: "stdout".into(),
                    at: None,
                    line: format!("line {n}"),
                };
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    fn bundle_form(&self, _: u64, _: Option<&Version>) -> Result<BundleForm> {
        Ok(BundleForm {
            version: version("1.1.0"),
            config: self.get().config.clone(),
            grants: Vec::new(),
        })
    }

    fn channel_form(&self, version: Option<&Version>) -> Result<BundleForm> {
        self.channel()?;
        self.bundle_form(0, version)
    }
}
