//! Numbers and tables for people.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::terminal::{Terminal, Tone};

/// `84.2 MB`: decimal, as disks are sold.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = u128::from(n) * 10;
    // Rounded before it is compared, so that there is no "1000.0 kB".
    while tenths >= 9995 && unit + 1 < UNITS.len() {
        tenths = (tenths + 500) / 1000;
        unit += 1;
    }
    match (unit, tenths) {
        (0, _) => format!("{n} bytes"),
        (_, 1000..) => format!("{} {}", (tenths + 5) / 10, UNITS[unit]),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// `3.2 s`, `42 s`, `3 min 12 s`, `2 h 5 min`, `12 d`.
pub fn duration(d: SignedDuration) -> String {
    let seconds = d.as_secs().max(0);
    match seconds {
        0..10 => format!("{}.{} s", seconds, d.subsec_millis().max(0) / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn pair(large: i64, of: &str, small: i64, unit: &str) -> String {
    if small == 0 {
        format!("{large} {of}")
    } else {
        format!("{large} {of} {small} {unit}")
    }
}

/// How long ago, in one unit: `12 d`, `3 h`.
pub fn since(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-11-24 02:40`, in the machine's own zone.
pub fn minute(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

/// `02:40:07`, in the machine's own zone.
pub fn second(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime("%H:%M:%S")
        .to_string()
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [head @ .., last] => {
            let head: Vec<_> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

/// `1 service`, `3 services`.
pub fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// `text` in lines of at most `width`, broken at spaces.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let longer = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && longer > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Columns side by side, without lines; only the last one is broken to the terminal's width.
#[derive(Debug, Default)]
pub struct Table {
    indent: usize,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// Every row begins with so many spaces.
    pub fn indented(indent: usize) -> Self {
        Self {
            indent,
            rows: Vec::new(),
        }
    }

    /// Adds the names of the columns.
    pub fn head(&mut self, cells: &[&str]) {
        let cells = cells.iter().map(|cell| (Tone::Dim, (*cell).to_owned()));
        self.rows.push(cells.collect());
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [(Tone, String); N]) {
        self.rows.push(cells.into());
    }

    /// Writes it.
    pub fn print(&self, terminal: &mut Terminal) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|(_, text)| text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let last = columns.saturating_sub(1);
        let before = self.indent + widths.iter().take(last).map(|w| w + 2).sum::<usize>();
        let room = terminal
            .width()
            .map_or(usize::MAX, |w| w.saturating_sub(before).max(24));
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (at, (tone, text)) in row.iter().enumerate() {
                if at < last {
                    line.push_str(&terminal.paint(*tone, text));
                    line.push_str(&" ".repeat(widths[at] + 2 - text.chars().count()));
                    continue;
                }
                for (n, part) in wrap(text, room).iter().enumerate() {
                    if n > 0 {
                        terminal.line(line.trim_end());
                        line = " ".repeat(before);
                    }
                    line.push_str(&terminal.paint(*tone, part));
                }
            }
            terminal.line(line.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_a_person_can_use() {
        for (n, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_999, "1.0 MB"),
            (84_200_000, "84.2 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(n), text, "{n}");
        }
        for (millis, text) in [
            (3_240, "3.2 s"),
            (42_900, "42 s"),
            (192_000, "3 min 12 s"),
            (7_500_000, "2 h 5 min"),
            (-5, "0.0 s"),
        ] {
            assert_eq!(duration(SignedDuration::from_millis(millis)), text);
        }
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn the_last_column_is_broken_and_the_others_are_not() {
        let (mut terminal, out, _) = Terminal::captured(false);
        let mut table = Table::indented(2);
        table.head(&["name", "state"]);
        table.row([(Tone::Strong, "db".into()), (Tone::Plain, "runs".into())]);
        table.print(&mut terminal);
        assert_eq!(out.text(), "  name  state\n  db    runs\n");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    }
}
