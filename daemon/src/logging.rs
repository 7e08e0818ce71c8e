//! Where log lines go: to the journal with their fields, or to stderr as plain lines.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Starts logging. The first call counts.
///
/// `level` is a level's name (`debug`); an unknown one is `info`.
pub fn init(level: &str) {
    log::set_max_level(level.parse().unwrap_or(LevelFilter::Info));
    // Set by systemd when stderr is the journal's; under a shell of such a unit it is not.
    if connected_to_journal()
        && let Ok(journal) = JournalLog::new()
        && journal.install().is_ok()
    {
        return;
    }
    // A second logger is an error that changes nothing.
    let _ = log::set_logger(&Stderr);
}

/// One line a record, without a time: whoever collects stderr has one.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Dependencies are heard from warnings on: their debug is not ours to read.
        let ours = record.target().starts_with("berth");
        if ours || record.level() <= log::Level::Warn {
            let level = record.level().as_str().to_ascii_lowercase();
            let _ = writeln!(std::io::stderr().lock(), "{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}
