//! What is told, and when: the ends of runs, services that stay unwell, disks that fill up.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use berth_format::{Code, Name, Release};
use semver::Version;

use super::Appliance;
use super::status::judge;
use super::vitals::{Seen, Verdict, Vitals};
use crate::engine::{Container, Engine, EngineError, Health};
use crate::host::{Disk, Host};
use crate::notify;
use crate::notify::announcement::Sender;
use crate::notify::{Announcement, Event, Letter};
use crate::preflight::bytes;
use crate::store::{Installed, Outcome, Run};
use crate::update::Phase;
use crate::update::context::StepError;
use crate::update::gate::is_one_off;
use crate::update::plan::PlanKind;

#[cfg(test)]
mod tests;

/// Between two looks at the disks.
const DISKS: Duration = Duration::from_mins(10);

const GIB: u64 = 1 << 30;

impl<E: Engine, H: Host> Appliance<E, H> {
    /// Tells it everybody who wants to know. It is written down at once; nobody is waited for, and
    /// the caller never fails by it.
    pub fn announce(&self, announcement: &Announcement) {
        // Most appliances tell nobody, and it costs them nothing.
        if !self.has_receiver() {
            return;
        }
        let now = self.0.host.now();
        let letter = Letter::new(announcement, self.sender(), now);
        let topic = announcement.topic.as_ref();
        self.0.outbox.put(&letter, topic, now);
    }

    /// Whether anybody is told anything.
    pub fn has_receiver(&self) -> bool {
        self.0.store.has_receiver().unwrap_or_else(|error| {
            log::error!("who is told cannot be read: {error}");
            false
        })
    }

    /// Delivers what was announced, and looks after the disks, until the task is dropped.
    pub async fn tell(&self) {
        tokio::join!(self.0.outbox.run(&self.0.host), self.watch_disks());
    }

    pub(super) fn sender(&self) -> Sender {
        let store = &self.0.store;
        let known = || -> std::result::Result<_, crate::store::StoreError> {
            let Some(installed) = store.installed()? else {
                let last = store.history(1)?.pop();
                return Ok(last.map(|run| (run.plan.product, run.plan.title)));
            };
            let title = store
                .release(&installed.version)?
                .map_or_else(|| installed.product.to_string(), |r| r.release.title);
            Ok(Some((installed.product, title)))
        };
        let (product, title) = known().ok().flatten().unzip();
        Sender {
            host: notify::host_name(),
            appliance: store.appliance().unwrap_or_default(),
            product,
            title,
        }
    }

    pub(super) fn announce_begun(&self, run: &Run) {
        let plan = &run.plan;
        let (title, to) = (&plan.title, &plan.to);
        let what = match (plan.kind, &plan.from) {
            (PlanKind::Install, _) | (PlanKind::Update, None) => {
                format!("The install of {title} {to} has begun.")
            }
            (PlanKind::Update, Some(from)) => {
                format!("The update of {title} from {from} to {to} has begun.")
            }
            (PlanKind::Reconfigure, _) => format!("{title} {to} is being reconfigured."),
            (PlanKind::Rollback, _) => {
                format!("The rollback of {title} to {to} has begun, as somebody asked for it.")
            }
        };
        let announcement = about(run, Event::UpdateBegun, what);
        self.announce(&announcement.once("run-begun", run.id.to_string()));
    }

    /// A run has just ended, or stands still.
    pub(super) fn announce_end(&self, run: &Run) {
        // One that halts again after somebody mended it is news.
        self.forget("run-halted");
        self.announce_found(run);
    }

    /// A run that a start found ended, or standing still; told unless it was.
    pub(super) fn announce_found(&self, run: &Run) {
        let installed = self.0.store.installed().ok().flatten();
        if let Some(announcement) = end(run, installed.as_ref().map(|i| &i.version)) {
            self.announce(&announcement);
        }
    }

    /// A crash may have come between the end of a run and the word about it.
    pub(super) fn announce_missed(&self) {
        let store = &self.0.store;
        let Ok(Some(last)) = store.history(1).map(|mut last| last.pop()) else {
            return;
        };
        if store.told("run-begun").ok().flatten() == Some(last.id.to_string()) {
            self.announce_found(&last);
        }
    }

    /// Whether it had been told.
    pub(super) fn forget(&self, topic: &str) -> bool {
        self.0.store.forget_told(topic).unwrap_or_else(|error| {
            log::error!("what was told cannot be written: {error}");
            false
        })
    }

    /// A look at every service, before any of them is mended.
    pub(super) fn see(
        &self,
        vitals: &mut Vitals,
        release: &Release,
        installed: &Installed,
        seen: &BTreeMap<&str, &Container>,
    ) {
        let now = self.0.host.monotonic();
        self.tell_verdict(vitals.see(None, Seen::Good, now), None, "");
        for (name, service) in &release.services {
            let Some(placed) = installed.services.get(name).filter(|placed| !placed.done) else {
                continue;
            };
            let container = seen.get(placed.container.as_str()).copied();
            let (good, why) = judge(container, is_one_off(service));
            let seen = match container {
                Some(container) if good && container.health == Health::Starting => Seen::Between,
                _ if good => Seen::Good,
                _ => Seen::Bad,
            };
            self.tell_verdict(vitals.see(Some(name), seen, now), Some(name), &why);
        }
    }

    /// The look failed.
    pub(super) fn watch_failed(&self, vitals: &mut Vitals, error: &StepError) {
        let gone = match error {
            StepError::Engine(EngineError::Gone(_)) => true,
            StepError::Refused(refusal) => refusal.code == Code::EngineGone,
            _ => false,
        };
        if gone {
            let verdict = vitals.see(None, Seen::Bad, self.0.host.monotonic());
            self.tell_verdict(verdict, None, &error.to_string());
        }
    }

    fn tell_verdict(&self, verdict: Option<Verdict>, who: Option<&Name>, why: &str) {
        let topic = who.map_or_else(
            || "unhealthy".to_owned(),
            |name| format!("unhealthy {name}"),
        );
        let (event, text, next) = match (verdict, who) {
            (None, _) => return,
            (Some(Verdict::Ill), Some(name)) => (
                Event::Unhealthy,
                format!(
                    "{name} has not been well for two minutes, although Berth tried to mend it: {why}."
                ),
                Some(format!("Look at `berth status` and `berth logs {name}`.")),
            ),
            (Some(Verdict::Ill), None) => (
                Event::Unhealthy,
                format!("Docker has not answered for two minutes: {why}."),
                Some("Look at `systemctl status docker`.".to_owned()),
            ),
            (Some(Verdict::Well), Some(name)) => {
                (Event::HealthyAgain, format!("{name} is well again."), None)
            }
            (Some(Verdict::Well), None) => (
                Event::HealthyAgain,
                "Docker answers again.".to_owned(),
                None,
            ),
        };
        let installed = self.0.store.installed().ok().flatten();
        let announcement = Announcement {
            to: installed.map(|installed| installed.version),
            service: who.cloned(),
            next,
            ..Announcement::new(event, text)
        };
        if event == Event::Unhealthy {
            self.announce(&announcement.once(topic, "ill"));
        } else if self.forget(&topic) {
            self.announce(&announcement);
        }
    }

    async fn watch_disks(&self) {
        loop {
            if self.has_receiver() {
                self.look_at_disks().await;
            }
            self.0.host.sleep(DISKS).await;
        }
    }

    async fn look_at_disks(&self) {
        let own = self.0.store.files_dir();
        let mut places = vec![("Berth's state", own)];
        if let Ok(info) = self.0.engine.info().await {
            places.insert(0, ("Docker's data", info.root));
        }
        let mut looked = Vec::new();
        for (what, path) in places {
            let Ok(disk) = self.0.host.disk(&path).await else {
                continue;
            };
            // On one disk it is one piece of news.
            if !looked.contains(&disk.filesystem) {
                looked.push(disk.filesystem);
                self.judge_disk(what, &path, disk);
            }
        }
    }

    fn judge_disk(&self, what: &str, path: &Path, disk: Disk) {
        let topic = format!("disk {what}");
        match room(disk) {
            Some(true) => drop(self.forget(&topic)),
            None => {}
            Some(false) => {
                let text = format!(
                    "The disk with {what} ({}) has {} of {} left.",
                    path.display(),
                    bytes(disk.free),
                    bytes(disk.total)
                );
                let announcement = Announcement {
                    code: Some(Code::DiskSpace),
                    ..Announcement::new(Event::DiskLow, text)
                };
                let next = "Free space or make the disk larger: the product may stop, and an \
                            update is refused.";
                self.announce(&announcement.next(next).once(topic, "low"));
            }
        }
    }
}

fn about(run: &Run, event: Event, summary: String) -> Announcement {
    Announcement {
        from: run.plan.from.clone(),
        to: Some(run.plan.to.clone()),
        run: Some(run.id),
        ..Announcement::new(event, summary)
    }
}

/// What is said of the end of a run; `runs`: the version that runs now. `None`: it has not ended.
fn end(run: &Run, runs: Option<&Version>) -> Option<Announcement> {
    let plan = &run.plan;
    let (title, to) = (&plan.title, &plan.to);
    let failure = run.failure.as_ref();
    let why = failure.map_or("it was cut off", |f| f.summary.trim_end_matches('.'));
    if let Phase::Halted(_) = run.phase {
        let text = format!(
            "{title} stands still: the way to {to} failed ({why}), and the way back could not finish."
        );
        let announcement = Announcement {
            code: Some(Code::RollbackFailed),
            ..about(run, Event::Halted, text)
        };
        let next = "Look at `berth status`, mend the reason, then run `berth rollback --resume`.";
        return Some(
            announcement
                .next(next)
                .once("run-halted", run.id.to_string()),
        );
    }
    let announcement = match (run.ended?.outcome, plan.kind) {
        (Outcome::Committed, PlanKind::Install) => about(
            run,
            Event::UpdateDone,
            format!("{title} {to} is installed and runs."),
        ),
        (Outcome::Committed, PlanKind::Update) => {
            let from = plan.from.as_ref();
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            let text = format!("{title} was updated{from} to {to}, and runs.");
            about(run, Event::UpdateDone, text)
        }
        (Outcome::Committed, PlanKind::Reconfigure) => about(
            run,
            Event::UpdateDone,
            format!("{title} {to} runs with its new config."),
        ),
        (Outcome::Committed, PlanKind::Rollback) => about(
            run,
            Event::RolledBack,
            format!("{title} {to} runs again, as somebody asked for it."),
        ),
        (Outcome::RolledBack, kind) => {
            let code = failure.map_or(Code::Interrupted, |f| f.code);
            let next = failure.map_or_else(|| code.next().to_owned(), |f| f.next.clone());
            let what = match kind {
                PlanKind::Install => "install",
                PlanKind::Update => "update",
                PlanKind::Reconfigure => "reconfiguration",
                PlanKind::Rollback => "rollback",
            };
            let failed = match runs {
                Some(runs) => Announcement {
                    from: Some(to.clone()),
                    to: Some(runs.clone()),
                    ..about(
                        run,
                        Event::RolledBack,
                        format!("The {what} to {to} failed, and {title} {runs} runs again: {why}."),
                    )
                },
                None => about(
                    run,
                    Event::UpdateFailed,
                    format!("The {what} of {title} {to} failed, and was undone: {why}."),
                ),
            };
            Announcement {
                code: Some(code),
                ..failed
            }
            .next(next)
        }
    };
    Some(announcement.once("run-ended", run.id.to_string()))
}

/// Whether there is room; `None`: neither much nor little, and what was said stays said.
fn room(disk: Disk) -> Option<bool> {
    if disk.free < GIB || (disk.free < disk.total / 10 && disk.free < 5 * GIB) {
        return Some(false);
    }
    // An eighth, so that what moves around a tenth is not told again and again.
    let roomy = disk.free >= GIB + GIB / 2 && (disk.free >= disk.total / 8 || disk.free >= 6 * GIB);
    roomy.then_some(true)
}
