//! Asks the channel from time to time, and does what the policy says about its offers.
//!
//! Nothing here is needed for safety: an update that begins by itself is the same update, with the
//! same plan, checks and way back, as one that an admin begins. What only an admin can agree to
//! (grants, missing config) is left to him, and he is told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_format::{Code, Refusal};
use jiff::{SignedDuration, Timestamp};
use semver::Version;
use tokio::sync::Notify;

use super::{Appliance, agreed, supervise};
use crate::api::{ApplyRequest, PlanRequest, Result, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::preflight;
use crate::release::download::{Backoff, Real, Timing};
use crate::release::import;
use crate::schedule::{Intent, Mode, Policy, Reason};
use crate::update::plan::PlanKind;

mod tell;

/// The first question after a start comes within this: machines that boot together after a power
/// cut do not ask together.
const FIRST: Duration = Duration::from_mins(5);

/// Nothing is so urgent that the clock is looked at more often.
const SHORTEST: Duration = Duration::from_secs(1);

/// Between two looks at the clock: it may be set, and machines sleep.
const LONGEST: Duration = Duration::from_mins(15);

/// After a question that failed, doubled with each, up to the time between two questions.
const AGAIN: Duration = Duration::from_mins(5);

/// After an update that was refused.
const RETRY: Duration = Duration::from_mins(30);

/// While another run is under way.
const BUSY: Duration = Duration::from_mins(1);

/// What the watch knows beyond the store; forgotten with berthd.
#[derive(Debug, Default)]
pub(super) struct Watch {
    heard: Mutex<Heard>,
    look: Notify,
}

/// See [`Watch`].
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub next_check: Option<Timestamp>,
    /// Why the last question had no good answer.
    pub check_failed: Option<Refusal>,
    /// Why an update that should have begun did not.
    pub refused: Option<(Version, Refusal)>,
    /// Somebody wants it asked now.
    at_once: bool,
}

impl Watch {
    pub(super) fn heard(&self) -> Heard {
        self.lock().clone()
    }

    /// Something has changed: look again what follows from it.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Another channel: ask it now.
    pub(super) fn ask(&self) {
        *self.lock() = Heard {
            at_once: true,
            ..Heard::default()
        };
        self.look();
    }

    /// The channel was asked, by itself or by hand.
    pub(super) fn checked(&self, failed: Option<Refusal>) {
        self.lock().check_failed = failed;
        self.look();
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the channel is asked next, since an arbitrary point.
struct Timer {
    due: Duration,
    failures: u32,
}

impl<E: Engine, H: Host> Appliance<E, H> {
    /// Follows the channel until the task is dropped.
    pub async fn watch(&self) {
        let mut notices = self.0.notices.subscribe();
        let first = self.0.host.monotonic() + spread(FIRST);
        let mut timer = Timer {
            due: first,
            failures: 0,
        };
        loop {
            let wait = match self.turn(&mut timer).await {
                Ok(wait) => wait,
                Err(refusal) => {
                    log::warn!("the channel cannot be followed: {refusal}");
                    LONGEST
                }
            };
            tokio::select! {
                () = self.0.host.sleep(wait.min(LONGEST)) => {}
                () = self.0.watch.look.notified() => {}
                () = supervise::ended(&mut notices) => {}
            }
        }
    }

    /// Asks if it is time to, and does what follows; how long until the next turn.
    async fn turn(&self, timer: &mut Timer) -> Result<Duration> {
        let policy = self.0.store.policy().map_err(internal)?;
        let follows = self.0.store.following().map_err(internal)?.is_some();
        if policy.mode == Mode::Manual || !follows {
            self.0.watch.lock().next_check = None;
            return Ok(LONGEST);
        }
        let at_once = std::mem::take(&mut self.0.watch.lock().at_once);
        let now = self.0.host.monotonic();
        // A policy with a shorter pause holds at once.
        timer.due = timer.due.min(now + policy.every());
        if at_once || now >= timer.due {
            self.ask_by_itself(&policy, timer).await;
        }
        let until = timer.due.saturating_sub(self.0.host.monotonic());
        let next = SignedDuration::try_from(until).unwrap_or_default();
        self.0.watch.lock().next_check = self.0.host.now().checked_add(next).ok();
        Ok(until.min(self.act(&policy).await?))
    }

    async fn ask_by_itself(&self, policy: &Policy, timer: &mut Timer) {
        let pause = match self.answer_check().await {
            Ok(status) => {
                timer.failures = 0;
                self.tell_followed(&status);
                // Appliances that were installed together drift apart.
                policy.every().saturating_sub(spread(policy.every() / 8))
            }
            Err(refusal) => {
                let backoff = Backoff {
                    first: AGAIN,
                    most: policy.every(),
                    ..Backoff::default()
                };
                let pause = backoff.pause(timer.failures, Real::default().random());
                timer.failures = timer.failures.saturating_add(1);
                self.tell_lost(&refusal, timer.failures);
                log::warn!(CODE = refusal.code.to_string(); "the channel was asked in vain: {refusal}");
                pause.max(SHORTEST)
            }
        };
        timer.due = self.0.host.monotonic() + pause;
    }

    /// Does what follows from the policy; how long until that may change.
    async fn act(&self, policy: &Policy) -> Result<Duration> {
        let (candidates, _) = self.candidates()?;
        let Some(intent) = self.intent(policy, &candidates)? else {
            self.0.watch.lock().refused = None;
            return Ok(LONGEST);
        };
        self.tell_available(&intent, &candidates);
        let Some(begins) = intent.begins else {
            return Ok(LONGEST);
        };
        if self.0.store.current().map_err(internal)?.is_some() {
            return Ok(BUSY);
        }
        let outcome = tokio::select! {
            outcome = self.make_ready(&intent) => outcome,
            // What was changed may have made this the wrong thing to do.
            () = self.0.watch.look.notified() => return Ok(Duration::ZERO),
        };
        let outcome = match outcome {
            Ok(()) if !self.is_open(policy, &intent.version)? => {
                self.0.watch.lock().refused = None;
                let wait = begins.duration_since(self.0.host.now());
                // One that has passed is decided anew.
                return Ok(Duration::try_from(wait).unwrap_or_default().max(SHORTEST));
            }
            Ok(()) => {
                log::info!("the policy begins the update to {}", intent.version);
                self.begin(request(&intent.version)).await.map(|_| ())
            }
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(()) => {
                self.forget(tell::WAITS);
                self.0.watch.lock().refused = None;
                Ok(BUSY)
            }
            Err(refusal) if refusal.code == Code::Busy => Ok(BUSY),
            Err(refusal) => {
                let line = is_of_the_line(refusal.code);
                log::warn!(
                    CODE = refusal.code.to_string();
                    "the update to {} does not begin: {refusal}", intent.version
                );
                if !line {
                    self.tell_refused(&intent.version, &refusal);
                }
                self.0.watch.lock().refused = Some((intent.version, refusal));
                Ok(if line { AGAIN } else { RETRY })
            }
        }
    }

    /// Whether it may begin now: the window may have closed, and the vendor may have thought better
    /// of it, while images came.
    fn is_open(&self, policy: &Policy, version: &Version) -> Result<bool> {
        let (candidates, _) = self.candidates()?;
        let intent = self.intent(policy, &candidates)?;
        let is_it = |intent: Intent| intent.version == *version && intent.reason == Reason::Open;
        Ok(intent.is_some_and(is_it))
    }

    /// Everything that can be done before the window opens: that the plan holds on this machine,
    /// and what has to be downloaded.
    async fn make_ready(&self, intent: &Intent) -> Result<()> {
        let request = request(&intent.version);
        let (place, docker) = self.survey().await;
        let (planned, _) = self.planned(&request.plan, &place)?;
        agreed(&request, &planned)?;
        let ctx = self.context(place, None);
        let checks = self.checks(&ctx, &planned, &docker).await?;
        if let Some(refusal) = preflight::verdict(&checks) {
            return Err(refusal);
        }
        let mut missing = Vec::new();
        for release in &planned.releases {
            let fetched = crate::update::is_fetched(&ctx, &release.version).await;
            if !fetched.map_err(|error| error.refusal(Code::FetchFailed))? {
                missing.push(release.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let info = self.0.engine.info().await.map_err(internal)?;
        let files = self.0.store.files_dir();
        let needed = import::needed(&missing, &info, &self.known().await?, &files);
        let needed = needed.map_err(|error| error.refusal())?;
        self.download(needed, |_, _| ()).await.map(|_| ())
    }
}

/// A line or a server that does not work now may do so soon, and nobody is woken for it: if it
/// stays so, the channel is lost, and that is told.
fn is_of_the_line(code: Code) -> bool {
    matches!(
        code,
        Code::DownloadCut | Code::MirrorUnreachable | Code::MirrorRefused
    )
}

fn request(version: &Version) -> ApplyRequest {
    ApplyRequest {
        plan: PlanRequest {
            kind: PlanKind::Update,
            bundle: None,
            to: Some(version.clone()),
            retry_quarantined: false,
        },
        digest: None,
        accept_grants: false,
        confirm: None,
    }
}

/// A random part of a time.
fn spread(longest: Duration) -> Duration {
    // The first and only round of a backoff: full jitter.
    let backoff = Backoff {
        first: longest,
        most: longest,
        ..Backoff::default()
    };
    backoff.pause(0, Real::default().random())
}
