//! Everything that `berth` has of the world outside: its streams, and whether a person is there.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use berth_format::{Code, Refusal};
use serde::Serialize;

use crate::api::{Result, internal};

/// Lines of a failing log that a refusal shows.
const LOG_LINES: usize = 12;

/// How a piece of text is meant. Never by colour alone: the words say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Dim,
    Good,
    Warn,
    Bad,
}

/// The streams of the command.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the world outside"
)]
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Answers come as JSON.
    pub json: bool,
    /// A person can be asked.
    pub interactive: bool,
    /// Progress may move.
    pub live: bool,
    colour: bool,
    width: Option<usize>,
    gone: bool,
}

impl Terminal {
    /// The real one.
    pub fn stdio(json: bool) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            json,
            interactive: !json && io::stdin().is_terminal() && out && err,
            live: !json && out && err && !dumb,
            colour: !json && out && !no_colour && !dumb,
            width: terminal_size::terminal_size()
                .filter(|_| out)
                .map(|(width, _)| usize::from(width.0)),
            gone: false,
        }
    }

    /// One that keeps what is written, as a pipe would: (terminal, stdout, stderr).
    pub fn captured(json: bool) -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let terminal = Self {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            json,
            interactive: false,
            live: false,
            colour: false,
            width: None,
            gone: false,
        };
        (terminal, out, err)
    }

    /// A line on stdout. Nothing is said of a reader that has gone; see [`Self::gone`].
    pub fn line(&mut self, line: impl AsRef<str>) {
        let written = writeln!(self.out, "{}", line.as_ref()).and_then(|()| self.out.flush());
        self.gone |= written.is_err();
    }

    /// A line on stderr.
    pub fn note(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", line.as_ref());
    }

    /// Nobody reads stdout any more.
    pub fn gone(&self) -> bool {
        self.gone
    }

    /// The one document of an answer.
    pub fn document(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(internal)?;
        self.line(text);
        Ok(())
    }

    /// One line of a stream of documents.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).map_err(internal)?;
        self.line(text);
        Ok(())
    }

    /// Says no, on stderr.
    pub fn refuse(&mut self, refusal: &Refusal) {
        if self.json {
            let text = serde_json::to_string_pretty(refusal).unwrap_or_else(|e| e.to_string());
            return self.note(text);
        }
        // The whole log is in `berth history` and in the JSON.
        let mut refusal = refusal.clone();
        refusal
            .log
            .drain(..refusal.log.len().saturating_sub(LOG_LINES));
        let text = refusal.to_string();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let first = self.paint(Tone::Bad, first);
        self.note(first);
        if !rest.is_empty() {
            self.note(rest);
        }
    }

    /// Text in its tone, where the terminal can show it.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Columns of the terminal; `None`: no terminal, lines are as long as they are.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Asks for a line. Only where [`Self::interactive`].
    pub fn ask(&mut self, question: &str) -> Result<String> {
        let asked = write!(self.out, "{question} ").and_then(|()| self.out.flush());
        let mut line = String::new();
        match asked.and_then(|()| io::stdin().lock().read_line(&mut line)) {
            Ok(0) => Err(Refusal::new(Code::Usage, "no answer was given")),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(internal(error)),
        }
    }

    /// Asks for a line that is not shown.
    pub fn ask_secret(&mut self, question: &str) -> Result<String> {
        rpassword::prompt_password(format!("{question} ")).map_err(internal)
    }

    /// Asks for a yes; anything else is a no.
    pub fn agree(&mut self, question: &str) -> Result<bool> {
        let answer = self.ask(&format!("{question} [y/N]"))?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// What was written to one stream.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// All of it.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
