//! How far a long task is: a bar on a terminal, plain lines in a log.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines about the same task in a log.
const QUIET: Duration = Duration::from_secs(10);

/// Where progress is told: standard error.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    bars: bool,
    silent: bool,
}

impl Progress {
    /// Bars if standard error is a terminal.
    pub fn new() -> Self {
        Self {
            bars: io::stderr().is_terminal(),
            silent: false,
        }
    }

    /// Nothing is told.
    pub fn silent() -> Self {
        Self {
            bars: false,
            silent: true,
        }
    }

    /// A line.
    pub fn say(self, text: &str) {
        if !self.silent {
            eprintln!("{text}");
        }
    }

    /// A task of `total` bytes; 0 where that is not known.
    pub fn task(self, label: impl Into<String>, total: u64) -> Task {
        let label = label.into();
        let bar = self.bars.then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_style(style(total));
            bar.with_message(label.clone())
        });
        let now = Instant::now();
        Task {
            label,
            bar,
            silent: self.silent,
            done: 0,
            total,
            started: now,
            told: now,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A task under way.
#[derive(Debug)]
pub struct Task {
    label: String,
    bar: Option<ProgressBar>,
    silent: bool,
    done: u64,
    total: u64,
    started: Instant,
    told: Instant,
}

impl Task {
    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.at(self.done + bytes, self.total);
    }

    /// So many bytes, of so many.
    pub fn at(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if self.total == 0 && total > 0 {
                bar.set_style(style(total));
            }
            bar.set_length(total);
            bar.set_position(done);
        }
        (self.done, self.total) = (done, total);
        if self.bar.is_none() && !self.silent && self.told.elapsed() >= QUIET {
            self.told = Instant::now();
            match (done * 100).checked_div(total) {
                Some(percent) => eprintln!("{}: {percent} %", self.label),
                None => eprintln!("{}: {}", self.label, HumanBytes(done)),
            }
        }
    }

    /// It is done, with this result.
    pub fn end(self, result: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        if !self.silent {
            let seconds = self.started.elapsed().as_secs_f64();
            eprintln!("{}: {result} ({seconds:.1} s)", self.label);
        }
    }
}

fn style(total: u64) -> ProgressStyle {
    let template = if total == 0 {
        "{msg} {bytes} ({bytes_per_sec})"
    } else {
        "{msg} [{bar:30}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta})"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
