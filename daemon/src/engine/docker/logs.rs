//! What containers print.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ASK, Docker, failure};
use crate::engine::{EngineError, Result};

/// The most bytes of a line; the rest of it is dropped.
const MAX_LINE: usize = 4 << 10;
/// The most lines of a tail.
const MAX_LINES: usize = 10_000;

/// Where a line came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogStream {
    /// Also everything of a container with a terminal.
    Stdout,
    Stderr,
}

/// A line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub stream: LogStream,
    /// When Docker got it.
    pub at: Option<Timestamp>,
    /// Without its end, at most 4 KiB; what is not UTF-8 is replaced.
    pub text: String,
}

impl Docker {
    /// The last `tail` lines; with `follow` also each that comes, until the container ends.
    pub fn logs(
        &self,
        name: &str,
        tail: usize,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<LogLine>> + Send + use<>> {
        let options = LogsOptionsBuilder::new()
            .follow(follow)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .tail(&tail.to_string())
            .build();
        let name = name.to_owned();
        let client = self.client()?;
        let chunks = client.logs(&name, Some(options)).map(Some);
        // A last chunk without an end of line is a line too.
        let chunks = chunks.chain(futures_util::stream::iter([None]));
        let lines = chunks.scan(Assembler::default(), move |assembler, chunk| {
            let lines = match chunk {
                Some(Ok(output)) => assembler.push(output).into_iter().map(Ok).collect(),
                Some(Err(error)) => vec![Err(failure(&name, error))],
                None => assembler.finish().into_iter().map(Ok).collect(),
            };
            std::future::ready(Some(futures_util::stream::iter(lines)))
        });
        Ok(lines.flatten())
    }

    pub(super) async fn last_lines(&self, name: &str, lines: usize) -> Result<Vec<String>> {
        let lines = lines.clamp(1, MAX_LINES);
        let read = async {
            let mut last = VecDeque::with_capacity(lines);
            let mut all = std::pin::pin!(self.logs(name, lines, false)?);
            while let Some(line) = all.next().await {
                if last.len() == lines {
                    last.pop_front();
                }
                last.push_back(line?.text);
            }
            Ok(last.into())
        };
        match tokio::time::timeout(ASK, read).await {
            // A driver that keeps nothing, or keeps it elsewhere.
            Ok(Err(EngineError::Refused(why))) if why.contains("does not support reading") => {
                Ok(Vec::new())
            }
            Ok(result) => result,
            Err(_) => Err(EngineError::TimedOut(ASK)),
        }
    }
}

/// Makes lines of chunks: Docker cuts lines of more than 16 KiB, and each chunk has its own time.
#[derive(Default)]
struct Assembler {
    stdout: Option<Partial>,
    stderr: Option<Partial>,
}

struct Partial {
    at: Option<Timestamp>,
    bytes: Vec<u8>,
}

impl Assembler {
    fn push(&mut self, output: LogOutput) -> Option<LogLine> {
        let (stream, bytes) = match output {
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            LogOutput::StdOut { message }
            | LogOutput::Console { message }
            | LogOutput::StdIn { message } => (LogStream::Stdout, message),
        };
        let (at, text) = timestamp(&bytes);
        let partial = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let line = partial.get_or_insert_with(|| Partial {
            at,
            bytes: Vec::new(),
        });
        let (text, ended) = match text.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let room = MAX_LINE - line.bytes.len();
        line.bytes.extend_from_slice(&text[..text.len().min(room)]);
        if ended {
            partial.take().map(|p| p.line(stream))
        } else {
            None
        }
    }

    fn finish(&mut self) -> Vec<LogLine> {
        let stdout = self.stdout.take().map(|p| p.line(LogStream::Stdout));
        let stderr = self.stderr.take().map(|p| p.line(LogStream::Stderr));
        stdout.into_iter().chain(stderr).collect()
    }
}

impl Partial {
    fn line(self, stream: LogStream) -> LogLine {
        let text = String::from_utf8_lossy(&self.bytes);
        LogLine {
            stream,
            at: self.at,
            text: text.trim_end_matches('\r').to_owned(),
        }
    }
}

/// `2026-01-02T03:04:05.678Z text`.
fn timestamp(bytes: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(space) = bytes.iter().take(40).position(|b| *b == b' ') else {
        return (None, bytes);
    };
    match std::str::from_utf8(&bytes[..space]).map(str::parse) {
        Ok(Ok(at)) => (Some(at), &bytes[space + 1..]),
        _ => (None, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut {
            message: text.to_owned().into(),
        }
    }

    fn err(text: &str) -> LogOutput {
        LogOutput::StdErr {
            message: text.to_owned().into(),
        }
    }

    #[test]
    fn lines_are_put_together_from_their_pieces() {
        let mut lines = Assembler::default();
        assert_eq!(lines.push(out("2026-01-02T03:04:05Z half ")), None);
        let other = lines.push(err("2026-01-02T03:04:06Z other\n")).unwrap();
        assert_eq!(
            (other.stream, other.text.as_str()),
            (LogStream::Stderr, "other")
        );
        let line = lines.push(out("2026-01-02T03:04:07Z done\r\n")).unwrap();
        assert_eq!(line.text, "half done");
        assert_eq!(line.at, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        assert_eq!(lines.push(out("2026-01-02T03:04:08Z no end")), None);
        assert_eq!(lines.finish()[0].text, "no end");
    }

    #[test]
    fn a_line_has_an_end_even_if_the_container_writes_none() {
        let mut lines = Assembler::default();
        for _ in 0..10 {
            assert_eq!(lines.push(out(&"x".repeat(16 << 10))), None);
        }
        assert_eq!(lines.push(out("\n")).unwrap().text.len(), MAX_LINE);
    }
}
