//! A berthd of a test, and the command line that speaks to it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Engine, program, wait_for};

/// berthd, with its state in a folder of the test.
#[derive(Debug)]
pub struct Berthd {
    dir: PathBuf,
    docker: PathBuf,
    netns: PathBuf,
    child: Option<Child>,
}

impl Berthd {
    /// Not started yet.
    pub fn new(dir: &Path, engine: &Engine) -> Self {
        Self {
            dir: dir.to_owned(),
            docker: engine.socket(),
            netns: engine.netns(),
            child: None,
        }
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it so that it stands still when it comes to one of these phases, until it is killed
    /// or [`Berthd::release`] lets it go on.
    pub fn start_holding(&mut self, phases: &[&str]) -> Result<()> {
        for phase in phases {
            let _ = fs::remove_file(self.release_file(phase));
        }
        let dir = self.dir.display().to_string();
        self.start_with(&[
            ("BERTH_TEST_HOLD", &phases.join(",")),
            ("BERTH_TEST_HOLD_DIR", &dir),
        ])
    }

    fn start_with(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        ensure!(self.child.is_none(), "berthd runs already");
        let _ = fs::remove_file(self.socket());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("berthd.log"))?;
        // It dies with the test, in the engine's network.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", self.netns.display()))
            .arg(program("berthd"))
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--socket")
            .arg(self.socket())
            .arg("--docker")
            .arg(&self.docker)
            .env_remove("NOTIFY_SOCKET")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        wait_for("berthd answers", Duration::from_secs(30), || {
            (self.cli(["status"]).code == 0).then_some(())
        })
        .with_context(|| self.log())
    }

    /// SIGKILL, as a crash is.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Lets a berthd that stands still in `phase` go on.
    pub fn release(&self, phase: &str) -> Result<()> {
        fs::write(self.release_file(phase), "")?;
        Ok(())
    }

    fn release_file(&self, phase: &str) -> PathBuf {
        self.dir.join(phase)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Forgets that anything was fetched, as if every layer had to come anew. berthd must be down.
    pub fn forget_fetched(&self) -> Result<()> {
        let db = rusqlite::Connection::open(self.state_dir().join("berth.db"))?;
        let forgotten = db.execute("UPDATE releases SET fetched = 0", [])?;
        ensure!(forgotten > 0, "nothing was fetched");
        Ok(())
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("berth.sock")
    }

    /// The last lines of what it said, for a failure.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("berthd.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(60);
        format!("berthd said:\n{}", lines[from..].join("\n"))
    }

    /// Runs `berth --json …` to its end.
    pub fn cli<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Answer {
        let output = self.command().arg("--json").args(words).output();
        let output = output.expect("berth runs");
        Answer::read(
            output.status.code().unwrap_or(-1),
            &output.stdout,
            &output.stderr,
        )
    }

    /// Begins `berth --json …` and does not wait.
    pub fn begin<S: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Child> {
        let child = self
            .command()
            .arg("--json")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }

    /// `berth` for this berthd.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program("berth"));
        command.arg("--socket").arg(self.socket());
        command
    }
}

impl Drop for Berthd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.kill();
    }
}

/// What `berth --json` answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    /// The last document on stdout.
    pub value: Value,
    /// The refusal, from stderr; null when there is none.
    pub refused: Value,
    /// All that it printed.
    pub text: String,
}

impl Answer {
    fn read(code: i32, stdout: &[u8], stderr: &[u8]) -> Self {
        Self {
            code,
            value: last(stdout),
            refused: last(stderr),
            text: format!(
                "exit {code}\n{}{}",
                String::from_utf8_lossy(stdout),
                String::from_utf8_lossy(stderr)
            ),
        }
    }

    /// Of a command that was begun and has ended.
    pub fn of(child: Child) -> Result<Self> {
        let output = child.wait_with_output()?;
        let code = output.status.code().unwrap_or(-1);
        Ok(Self::read(code, &output.stdout, &output.stderr))
    }

    /// The answer, if the command succeeded.
    pub fn good(self) -> Result<Value> {
        ensure!(self.code == 0, "{}", self.text);
        Ok(self.value)
    }

    /// The refusal's code; empty when there is none.
    pub fn refusal(&self) -> &str {
        self.refused["code"].as_str().unwrap_or_default()
    }
}

fn last(bytes: &[u8]) -> Value {
    let begin = bytes.iter().position(|b| b"{[".contains(b));
    let documents = &bytes[begin.unwrap_or(bytes.len())..];
    serde_json::Deserializer::from_slice(documents)
        .into_iter::<Value>()
        .map_while(Result::ok)
        .last()
        .unwrap_or_default()
}
