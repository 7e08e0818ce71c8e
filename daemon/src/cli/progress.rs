//! An update as it goes: moving bars on a terminal, plain lines elsewhere, JSON when asked.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::terminal::{Terminal, Tone};
use super::text::{bytes, duration};
use crate::api::{Notice, Result};
use crate::store::{Entry, Mended};
use crate::update::{Event, Phase, Step, Undo};

/// Shows a run.
pub struct View {
    /// Versions of the hops, as they are announced.
    hops: Vec<String>,
    hop: Option<usize>,
    bars: Option<Bars>,
    begun: Option<(Phase, Timestamp)>,
    /// Quarters of a progress that were said in plain lines.
    quarters: BTreeMap<String, u64>,
    going_back: bool,
}

struct Bars {
    all: MultiProgress,
    step: ProgressBar,
    parts: BTreeMap<String, ProgressBar>,
}

impl View {
    /// `hops`: what to call each hop; one alone is not announced.
    pub fn new(hops: Vec<String>, terminal: &Terminal) -> Self {
        let bars = terminal.live.then(|| {
            let all = MultiProgress::new();
            let step = all.add(ProgressBar::new_spinner());
            step.set_style(style("  {spinner} {msg}  {elapsed}"));
            step.set_message("waiting for the journal");
            step.enable_steady_tick(std::time::Duration::from_millis(120));
            Bars {
                all,
                step,
                parts: BTreeMap::new(),
            }
        });
        Self {
            hops,
            hop: None,
            bars,
            begun: None,
            quarters: BTreeMap::new(),
            going_back: false,
        }
    }

    /// Shows what happened.
    pub fn notice(&mut self, notice: &Notice, terminal: &mut Terminal) -> Result<()> {
        if terminal.json {
            return terminal.json_line(notice);
        }
        match notice {
            Notice::Journal(entry) => self.entry(entry, terminal),
            Notice::Progress {
                what, done, total, ..
            } => self.progress(what, *done, *total, terminal),
            Notice::Log { source, line, .. } => {
                let line = format!("    {source} | {line}");
                let line = terminal.paint(Tone::Dim, &line);
                self.say(&line, terminal);
            }
            Notice::Supervisor(Mended { service, what, .. }) => {
                self.say(&format!("  {service}: {what}"), terminal);
            }
            Notice::Ended(_) => self.clear(),
        }
        Ok(())
    }

    /// A line above the bars.
    pub fn say(&self, line: &str, terminal: &mut Terminal) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(line);
            }
            None => terminal.line(line),
        }
    }

    /// Takes the bars away.
    pub fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            let _ = bars.all.clear();
        }
    }

    fn entry(&mut self, entry: &Entry, terminal: &mut Terminal) {
        if self.hop != Some(entry.hop) {
            self.hop = Some(entry.hop);
            if let (Some(name), 2..) = (self.hops.get(entry.hop), self.hops.len()) {
                let line = terminal.paint(Tone::Strong, name);
                self.say(&line, terminal);
            }
        }
        match entry.event {
            Event::Begun => self.begin(entry, terminal),
            Event::Resumed => self.say("  taken up again", terminal),
            Event::Done => self.end(entry, "", Tone::Good, terminal),
            Event::Failed => self.end(entry, " failed", Tone::Bad, terminal),
            Event::Cut => self.end(entry, " was cut off", Tone::Warn, terminal),
        }
    }

    fn begin(&mut self, entry: &Entry, terminal: &mut Terminal) {
        self.begun = Some((entry.phase, entry.at));
        self.quarters.clear();
        if matches!(entry.phase, Phase::Back(_)) && !self.going_back {
            self.going_back = true;
            let line = terminal.paint(Tone::Warn, "Going back.");
            self.say(&line, terminal);
        }
        if let Phase::Halted(_) = entry.phase {
            self.clear();
        } else if let Some(bars) = &mut self.bars {
            for (_, part) in std::mem::take(&mut bars.parts) {
                part.finish_and_clear();
                bars.all.remove(&part);
            }
            bars.step.reset_elapsed();
            bars.step.set_message(words(entry.phase).0);
        }
    }

    fn end(&mut self, entry: &Entry, how: &str, tone: Tone, terminal: &mut Terminal) {
        let took = match self.begun.take() {
            Some((phase, at)) if phase == entry.phase => duration(entry.at.duration_since(at)),
            _ => String::new(),
        };
        let (doing, done) = words(entry.phase);
        let text = if how.is_empty() { done } else { doing };
        // One look for both: the step's name in the journal, then what it means.
        let step = terminal.paint(tone, &format!("{:<10}", entry.phase.to_string()));
        let took = terminal.paint(Tone::Dim, &took);
        self.say(
            format!("  {step}  {text}{how}  {took}").trim_end(),
            terminal,
        );
        if !entry.detail.is_empty() && entry.event != Event::Done {
            for line in entry.detail.lines() {
                self.say(&format!("    {line}"), terminal);
            }
        }
    }

    fn progress(&mut self, what: &str, done: u64, total: u64, terminal: &mut Terminal) {
        if let Some(bars) = &mut self.bars {
            let Bars { all, parts, .. } = bars;
            let bar = parts.entry(what.to_owned()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(total));
                bar.set_style(style(if total == 0 {
                    "    {msg}  {decimal_bytes}"
                } else {
                    "    {msg}  {bar:32}  {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}"
                }));
                bar.set_message(what.to_owned());
                bar
            });
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        // Lines that stay: at each quarter, not at each block.
        let quarter = done
            .saturating_mul(4)
            .checked_div(total)
            .unwrap_or(0)
            .min(4);
        if quarter > self.quarters.get(what).copied().unwrap_or(0) {
            self.quarters.insert(what.to_owned(), quarter);
            let line = format!("    {what}: {} of {}", bytes(done), bytes(total));
            self.say(&line, terminal);
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A style of ours; the plain one where a template is wrong.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

/// While it is being done, and when it is.
fn words(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Idle => ("waiting", "waited"),
        Phase::Halted(_) => ("stands still", "stood still"),
        Phase::Forward(step) => match step {
            Step::Fetch => ("bringing images into Docker", "images are in Docker"),
            Step::Prepare => ("preparing new containers", "new containers are prepared"),
            Step::Premigrate => (
                "migrating beside the running version",
                "migrated what can be while the old version runs",
            ),
            Step::Stop => ("stopping what changes", "what changes is stopped"),
            Step::Snapshot => ("copying volumes", "volumes are copied"),
            Step::Migrate => ("migrating data", "data is migrated"),
            Step::Start => (
                "starting services and waiting until they are healthy",
                "every service is healthy",
            ),
            Step::Commit => ("committing", "the new version is committed"),
            Step::Open => ("opening the doors", "the product can be reached"),
            Step::Prune => (
                "clearing away what is past its keep",
                "what was past its keep is gone",
            ),
        },
        Phase::Back(undo) => match undo {
            Undo::Halt => ("stopping the new version", "the new version is stopped"),
            Undo::Restore => ("putting the data back", "the data is as it was"),
            Undo::Revive => ("starting the old version", "the old version runs"),
            Undo::Discard => (
                "removing what the update made",
                "what the update made is gone",
            ),
        },
    }
}
