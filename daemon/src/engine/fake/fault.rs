//! What goes wrong, and at which call.

use std::collections::BTreeMap;
use std::time::Duration;

use super::random::Random;
use super::world::{Life, World};

/// On which side of its effect a call is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    /// A call of several effects stops after the first.
    Middle,
    After,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// berthd is killed.
    Crash(When),
    /// The machine loses power.
    PowerCut(When),
    /// Docker is killed or deaf for a while.
    Gone {
        when: When,
        down: Duration,
        killed: bool,
    },
    /// One call says no.
    Error(When, Kind),
    /// Every call of this verb says no for a while.
    Broken(Duration),
    /// No space for a while; letting the ballast go makes some.
    Full(Duration),
    /// The journal cannot be written for a while.
    Mute(Duration),
    /// It takes long.
    Slow(Duration),
}

/// In which words a call says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gone,
    Refused,
    TimedOut,
    NoSpace,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Do,
    Fail(Kind),
    DoThenFail(Kind),
    /// It is never answered.
    Stop,
    DoThenStop,
    PartThenStop,
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Engine,
    Host,
}

/// What is still to go wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub calls: u64,
    pub planned: BTreeMap<u64, Fault>,
    /// So many more follow, each soon after the one before.
    pub more: u32,
    pub broken: Option<(&'static str, Duration)>,
    /// Until then; whether the ballast is let go.
    pub full: Option<(Duration, bool)>,
    /// Until then the journal cannot be written.
    pub mute: Option<Duration>,
    /// What went wrong.
    pub fired: Vec<String>,
    /// The process ends by a power cut as soon as its call had its effect.
    pub power: bool,
}

impl Fault {
    /// Any fault.
    pub fn any(random: &mut Random) -> Self {
        let when = random.pick(&[When::Before, When::Middle, When::After]);
        match random.below(100) {
            0..35 => Self::Crash(when),
            35..50 => Self::PowerCut(when),
            50..68 => Self::Gone {
                when,
                down: match random.below(20) {
                    0..15 => Duration::from_millis(200 + random.below(20_000)),
                    15..19 => Duration::from_secs(20 + random.below(300)),
                    _ => Duration::from_hours(2),
                },
                killed: random.chance(70),
            },
            68..80 => {
                let kind = random.pick(&[Kind::Gone, Kind::Refused, Kind::TimedOut]);
                Self::Error(when, kind)
            }
            80..88 => Self::Broken(match random.below(5) {
                0..4 => Duration::from_millis(random.below(12_000)),
                _ => Duration::from_hours(1),
            }),
            88..94 => Self::Full(Duration::from_secs(random.below(60))),
            94..98 => Self::Mute(match random.below(5) {
                0..4 => Duration::from_millis(random.below(30_000)),
                _ => Duration::from_hours(1),
            }),
            _ => Self::Slow(Duration::from_millis(random.below(5000))),
        }
    }
}

impl World {
    /// A call begins: what becomes of it.
    pub fn enter(&mut self, side: Side, verb: &'static str, what: &str) -> Verdict {
        if self.crashed {
            return Verdict::Stop;
        }
        self.now += Duration::from_millis(1);
        self.tick();
        self.faults.calls += 1;
        let call = self.faults.calls;
        let fault = self.faults.planned.remove(&call);
        self.say(|| format!("#{call} {verb} {what}"));
        if let Some(fault) = fault {
            self.say(|| format!("!! {fault:?}"));
            self.faults
                .fired
                .push(format!("#{call} {verb} {what}: {fault:?}"));
            if self.faults.more > 0 {
                self.faults.more -= 1;
                let next = call + 1 + self.random.below(60);
                let fault = Fault::any(&mut self.random);
                self.faults.planned.insert(next, fault);
            }
        }
        let is_down = side == Side::Engine && self.life != Life::Up;
        match fault {
            Some(Fault::Crash(when)) => {
                if is_down || when == When::Before {
                    self.crashed = true;
                    return Verdict::Stop;
                }
                // The effect is let through before the process ends.
                return stopped(when);
            }
            Some(Fault::PowerCut(when)) => {
                if is_down || when == When::Before {
                    self.power_cut();
                    return Verdict::Stop;
                }
                self.faults.power = true;
                return stopped(when);
            }
            Some(Fault::Gone { when, down, killed }) => {
                self.docker_goes(down, killed);
                if side == Side::Engine {
                    return match when {
                        When::Before => Verdict::Fail(Kind::Gone),
                        _ if is_down => Verdict::Fail(Kind::Gone),
                        _ => Verdict::DoThenFail(Kind::Gone),
                    };
                }
            }
            Some(Fault::Error(when, kind)) if !is_down => {
                return match when {
                    When::Before => Verdict::Fail(kind),
                    _ if kind == Kind::Refused => Verdict::Fail(kind),
                    _ => Verdict::DoThenFail(kind),
                };
            }
            Some(Fault::Broken(time)) => self.faults.broken = Some((verb, self.now + time)),
            Some(Fault::Full(time)) => self.faults.full = Some((self.now + time, false)),
            Some(Fault::Mute(time)) => {
                self.faults.mute = Some(self.now + time);
                self.journal_writable(false);
            }
            Some(Fault::Slow(time)) => self.now += time,
            Some(Fault::Error(..)) | None => {}
        }
        if side == Side::Engine && self.life != Life::Up {
            return Verdict::Fail(Kind::Gone);
        }
        if let Some((broken, until)) = self.faults.broken
            && broken == verb
        {
            if self.now < until {
                return Verdict::Fail(Kind::Refused);
            }
            self.faults.broken = None;
        }
        if let Some((until, eased)) = self.faults.full {
            let small = matches!(verb, "create" | "start" | "connect" | "make_dir" | "lay");
            let large = matches!(verb, "load" | "copy_tree" | "ballast");
            if self.now >= until {
                self.faults.full = None;
            } else if verb == "release_ballast" {
                self.faults.full = Some((until, true));
            } else if large || (small && !eased) {
                return Verdict::Fail(Kind::NoSpace);
            }
        }
        Verdict::Do
    }

    /// Nothing more goes wrong; what is down comes up.
    pub fn mend(&mut self) {
        self.faults.planned.clear();
        self.faults.more = 0;
        self.faults.broken = None;
        self.faults.full = None;
        self.faults.mute = None;
        self.journal_writable(true);
        if let Life::Down { until, .. } = self.life {
            self.now = self.now.max(until);
        }
        self.tick();
    }
}

fn stopped(when: When) -> Verdict {
    match when {
        When::Middle => Verdict::PartThenStop,
        When::Before | When::After => Verdict::DoThenStop,
    }
}
