//! What a client can ask, and what it is told: the types that go over the wire.
//!
//! [`Api`] is the closed list. [`crate::appliance::Appliance`] answers it, [`crate::http`] carries
//! it, [`crate::cli`] asks it; whatever one client can do, every other one can.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;

use berth_format::config::FieldKind;
use berth_format::release::Grant;
use berth_format::{ChannelName, Code, Digest, Name, Product, Refusal};
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::engine::Container;
use crate::notify::{Delivery, Notifications, Receiver, Tested};
use crate::schedule::{Intent, Policy};
use crate::store::{ChannelSettings, Ended, Entry, Mended};
use crate::update::plan::PlanKind;
use crate::update::{Phase, Plan};

/// Result of a question.
pub type Result<T> = std::result::Result<T, Refusal>;

/// A bundle that was handed over as an open file and whose head is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleInfo {
    /// Names it in later questions; forgotten when berthd ends.
    pub id: u64,
    pub product: Product,
    /// Oldest first.
    pub releases: Vec<ReleaseInfo>,
    /// Bytes of the file.
    pub size: u64,
    /// What it says of its vendor's channel. `None`: it carries none.
    #[serde(default)]
    pub channel: Option<BundleChannel>,
    /// The Berth that it carries.
    #[serde(default)]
    pub berth: Option<Version>,
}

/// The channel in a bundle, believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleChannel {
    pub name: ChannelName,
    pub serial: u64,
    pub published: Timestamp,
    pub expires: Timestamp,
    /// It has, and the admin has accepted that.
    pub expired: bool,
    /// What the vendor took back of what runs here and of what is in the bundle, a sentence each.
    pub told: Vec<String>,
}

/// How a bundle is to be taken, as the admin says for this one bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Also if the channel in it is past its expiry.
    pub accept_expired_channel: bool,
    /// For a rollback by hand: it only brings images of what ran here before, however old it is.
    pub back: bool,
}

/// A release for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    pub version: Version,
    pub title: String,
    pub digest: Digest,
    pub notes: String,
    /// Nobody may skip it.
    pub stop: bool,
    /// Its images are in Docker.
    pub fetched: bool,
    /// Why it is quarantined.
    pub failed: Option<String>,
}

/// What to plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    pub kind: PlanKind,
    /// From this bundle; else from what was fetched before.
    #[serde(default)]
    pub bundle: Option<u64>,
    /// To this version; else the newest that can be reached.
    #[serde(default)]
    pub to: Option<Version>,
    /// Also a release that failed here.
    #[serde(default)]
    pub retry_quarantined: bool,
}

/// A plan and the state of the machine for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAnswer {
    pub digest: Digest,
    pub plan: Plan,
    /// Every check of the preflight, good and bad.
    pub checks: Vec<Check>,
}

/// A check of the preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked: `architecture`, `config`, `engine`, `cpus`, `memory`, `disk`, `ports`, `clock`, …
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// `None`: it is good.
    pub refusal: Option<Refusal>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    pub plan: PlanRequest,
    /// Only if the plan is still this one.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// The admin has read the grants.
    #[serde(default)]
    pub accept_grants: bool,
    /// The version that a rollback goes to, typed by the admin.
    #[serde(default)]
    pub confirm: Option<String>,
}

/// How the appliance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of Berth.
    pub berth: String,
    pub product: Option<Product>,
    pub title: Option<String>,
    pub version: Option<Version>,
    pub committed: Option<Timestamp>,
    pub generation: u64,
    /// One word for the whole.
    pub state: Overall,
    /// One sentence for a person.
    pub summary: String,
    pub services: Vec<ServiceStatus>,
    /// The run that is under way.
    pub run: Option<RunSummary>,
    /// What Docker says when it does not answer.
    pub engine_error: Option<String>,
    /// The version that a rollback by hand goes to.
    pub previous: Option<Version>,
    /// Versions that are here and newer.
    pub available: Vec<Version>,
}

/// The appliance in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overall {
    NotInstalled,
    Healthy,
    Degraded,
    Updating,
    RollingBack,
    Halted,
    EngineGone,
}

/// A service of the installed release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: Name,
    /// Whether it is as the release says.
    pub good: bool,
    /// One short sentence.
    pub summary: String,
    /// `None`: there is no container.
    pub container: Option<Container>,
    /// `address:port -> port/protocol`, as configured.
    pub ports: Vec<String>,
}

/// A run, short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: i64,
    pub kind: PlanKind,
    pub from: Option<Version>,
    pub to: Version,
    /// Index of the hop that is under way or was the last.
    pub hop: usize,
    pub hops: usize,
    pub phase: Phase,
    pub started: Timestamp,
    pub ended: Option<Ended>,
    /// The first thing that went wrong.
    pub failure: Option<Refusal>,
}

/// A run with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetail {
    pub run: RunSummary,
    pub plan: Plan,
    pub entries: Vec<Entry>,
}

/// Something that happens: kept lines of the journal, and progress that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Notice {
    /// A line of the journal.
    Journal(Entry),
    /// How far a step is. `total` 0: not known.
    Progress {
        run: i64,
        what: String,
        done: u64,
        total: u64,
    },
    /// A line of a migration's or service's log during an update.
    Log {
        run: i64,
        source: String,
        line: String,
    },
    /// The supervisor did something to keep the stack as it is.
    Supervisor(Mended),
    /// A run has ended.
    Ended(RunSummary),
}

/// A field of the form and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    pub name: String,
    pub kind: FieldKind,
    pub label: String,
    pub help: String,
    pub required: bool,
    pub choices: Vec<String>,
    /// Whether the admin set it, or it was generated.
    pub set: bool,
    /// The value that holds. Never that of a secret.
    pub value: Option<String>,
}

/// Whom this appliance trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustInfo {
    pub fingerprint: Option<Digest>,
    /// Known once a bundle has brought the confirmed root.
    pub product: Option<Product>,
    pub expires: Option<Timestamp>,
}

/// The channel and what it offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    pub settings: ChannelSettings,
    /// `None`: nothing was believed yet.
    pub serial: Option<u64>,
    pub expires: Option<Timestamp>,
    pub checked: Option<Timestamp>,
    /// Oldest first.
    pub releases: Vec<ChannelRelease>,
    /// What the vendor says of the installed release, if it was withdrawn: one sentence.
    pub installed: Option<String>,
    /// The newest release that this appliance would take by itself now.
    pub offer: Option<Version>,
}

/// A release of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRelease {
    pub version: Version,
    pub published: Timestamp,
    pub security: bool,
    /// Its turn has come here; a person need not wait for it.
    pub offered: bool,
    /// Why nobody should install it.
    pub withdrawn: Option<String>,
    /// What to install in its place.
    pub instead: Option<Version>,
}

/// The update policy, and what follows from it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    pub policy: Policy,
    /// `None`: nothing newer is offered.
    pub intent: Option<Intent>,
    /// Newer releases that are not taken by themselves.
    pub held: Vec<Held>,
    /// Why the update that should have begun did not.
    pub refused: Option<Refusal>,
    /// When the channel is asked again; `None`: by hand only.
    pub next_check: Option<Timestamp>,
    /// Why the last question to the channel had no good answer.
    pub check_failed: Option<Refusal>,
}

/// A release that is held back here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub version: Version,
    pub why: String,
}

/// A line of a service's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub service: Name,
    /// `stdout` or `stderr`.
    pub stream: String,
    pub at: Option<Timestamp>,
    pub line: String,
}

/// Everything that can be asked.
pub trait Api: Clone + Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = Result<Status>> + Send;
    fn trust_info(&self) -> Result<TrustInfo>;
    /// Trusts the root of this fingerprint; refused while another one is trusted, unless `replace`.
    fn trust(&self, fingerprint: Digest, replace: bool) -> Result<TrustInfo>;

    /// Verifies the head of a bundle and its releases, and remembers the open file.
    fn open_bundle(
        &self,
        file: File,
        terms: Terms,
    ) -> impl Future<Output = Result<BundleInfo>> + Send;
    /// Verifies every byte. Progress goes to the channel as (done, total) bytes.
    fn verify_bundle(
        &self,
        file: File,
        terms: Terms,
        progress: mpsc::Sender<(u64, u64)>,
    ) -> impl Future<Output = Result<BundleInfo>> + Send;
    /// Every release that is here.
    fn releases(&self) -> Result<Vec<ReleaseInfo>>;

    fn plan(&self, request: PlanRequest) -> impl Future<Output = Result<PlanAnswer>> + Send;
    /// Begins, and gives the run's number; it goes on when the client goes away.
    fn apply(&self, request: ApplyRequest) -> impl Future<Output = Result<RunSummary>> + Send;
    /// Takes up a halted rollback again.
    fn resume(&self) -> impl Future<Output = Result<RunSummary>> + Send;

    /// The channel that is followed, as it was last seen; nobody is asked.
    fn channel(&self) -> Result<ChannelStatus>;
    /// Follows a channel, or none; settings that cannot be used are refused, and nobody is asked.
    fn set_channel(
        &self,
        settings: Option<ChannelSettings>,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Asks its server what it offers now.
    fn check_channel(&self) -> impl Future<Output = Result<ChannelStatus>> + Send;

    /// The update policy, and what follows from it.
    fn policy(&self) -> Result<PolicyStatus>;
    /// Sets the update policy; it holds at once.
    fn set_policy(&self, policy: Policy) -> Result<PolicyStatus>;

    /// Who is told what happens here, and how that goes; no secret.
    fn notifications(&self) -> Result<Notifications>;
    /// Tells somebody from now on, or no longer.
    fn set_receiver(&self, name: &Name, receiver: Option<&Receiver>) -> Result<Notifications>;
    /// Delivers a test to each receiver, or to one, now.
    fn test_notifications(
        &self,
        only: Option<&Name>,
    ) -> impl Future<Output = Result<Vec<Tested>>> + Send;
    /// What waits, was delivered or was given up; newest first.
    fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>>;

    /// Newest first.
    fn history(&self, limit: u32) -> Result<Vec<RunSummary>>;
    fn run(&self, id: i64) -> Result<RunDetail>;
    /// What the supervisor mended, newest first.
    fn mended(&self, limit: u32) -> Result<Vec<Mended>>;
    /// Everything that happens from now on; a slow reader is told how much it missed.
    fn subscribe(&self) -> broadcast::Receiver<Notice>;

    fn config(&self) -> Result<Vec<ConfigValue>>;
    /// Sets values, all or none; they hold from the next install, update or reconfiguration on.
    fn set_config(&self, values: BTreeMap<String, Option<String>>) -> Result<Vec<ConfigValue>>;

    /// The last lines of a service, then (`follow`) what comes.
    fn logs(
        &self,
        service: &Name,
        tail: usize,
        follow: bool,
    ) -> impl Future<Output = Result<mpsc::Receiver<LogLine>>> + Send;

    /// Values of the product's form needed by a bundle that is not installed yet, and what it asks for.
    fn bundle_form(&self, id: u64, version: Option<&Version>) -> Result<BundleForm>;
    /// The same for what the channel last offered.
    fn channel_form(&self, version: Option<&Version>) -> Result<BundleForm>;
}

/// What an install asks of the admin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleForm {
    pub version: Version,
    pub config: Vec<ConfigValue>,
    pub grants: Vec<Grant>,
}

/// A refusal for a fault of Berth itself.
pub fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "Berth failed").found(error.to_string())
}
