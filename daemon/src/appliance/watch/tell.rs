//! What the watch has to tell, each once.

use berth_format::Refusal;
use berth_format::code::Kind;
use jiff::SignedDuration;
use semver::Version;

use super::super::Appliance;
use crate::api::ChannelStatus;
use crate::engine::Engine;
use crate::host::Host;
use crate::notify::{Announcement, Event};
use crate::schedule::{Candidate, Intent};

/// What an update waits for.
pub(super) const WAITS: &str = "update-waits";

/// The channel cannot be followed.
const LOST: &str = "channel-lost";

/// The version that runs was taken back.
const WITHDRAWN: &str = "release-withdrawn";

/// A server may be down for a weekend.
const SILENT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// A mirror may lag behind for a few questions; an attacker stays.
const REFUSED: u32 = 3;

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) fn tell_available(&self, intent: &Intent, candidates: &[Candidate]) {
        let version = &intent.version;
        let candidate = candidates.iter().find(|c| c.version == *version);
        let is_security = candidate.is_some_and(|c| c.security);
        let installed = self.0.store.installed().ok().flatten();
        let from = installed.map(|i| i.version);
        let mut available = Announcement::available(version, from.as_ref(), is_security);
        if let Some(begins) = intent.begins {
            let at = begins.strftime("%Y-%m-%d %H:%M UTC");
            available = available.next(format!("It begins by itself, not before {at}."));
        }
        self.announce(&available);
    }

    /// Why an update did not begin by itself.
    pub(super) fn tell_refused(&self, version: &Version, refusal: &Refusal) {
        let code = refusal.code;
        let summary = format!("The update to {version} waits for you: {}", refusal.summary);
        let waits = Announcement {
            to: Some(version.clone()),
            code: Some(code),
            ..Announcement::new(Event::UpdateWaits, summary)
        };
        let waits = waits.next(refusal.next.clone());
        self.announce(&waits.once(WAITS, format!("{version} {code}")));
    }

    pub(super) fn tell_followed(&self, status: &ChannelStatus) {
        self.forget(LOST);
        let installed = self.0.store.installed().ok().flatten();
        let Some((told, installed)) = status.installed.as_ref().zip(installed) else {
            self.forget(WITHDRAWN);
            return;
        };
        let withdrawn = Announcement {
            from: Some(installed.version.clone()),
            ..Announcement::new(Event::ReleaseWithdrawn, told)
        };
        let withdrawn = withdrawn.next("Read `berth channel`, then run `berth update`.");
        self.announce(&withdrawn.once(WITHDRAWN, installed.version.to_string()));
    }

    /// The channel was asked in vain, so many times in a row.
    pub(super) fn tell_lost(&self, refusal: &Refusal, failures: u32) {
        let following = self.0.store.following().ok().flatten();
        let last = following.and_then(|following| following.checked);
        let silent = last.is_none_or(|last| self.0.host.now().duration_since(last) > SILENT);
        let refused = refusal.code.kind() == Kind::Trust && failures >= REFUSED;
        if refused || (silent && failures >= REFUSED) {
            let summary = format!("The channel cannot be followed: {}", refusal.summary);
            let lost = Announcement {
                code: Some(refusal.code),
                ..Announcement::new(Event::ChannelLost, summary)
            };
            let lost = lost.next(refusal.next.clone());
            self.announce(&lost.once(LOST, refusal.code.to_string()));
        }
    }
}
