//! A program on this machine: run directly and never by a shell, with the letter as its input.
//!
//! It runs as root, as berthd does, so nobody but root may be able to write it, or to put another
//! in its place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::announcement::line;
use super::settings::absolute;
use super::{Letter, NotifyError, Program};
use crate::release::download::bad_file;

/// After this it is killed, with all that it started.
const WHOLE: Duration = Duration::from_secs(30);

/// How long what it started in the background may keep its standard error open afterwards.
const AFTER: Duration = Duration::from_millis(200);

/// `EX_TEMPFAIL` of sysexits.h: it wants to be tried again for as long as a web server is.
const LATER: i32 = 75;

/// So much of its standard error is kept.
const SAID: usize = 4 << 10;

/// Where it finds other programs: nothing that berthd was started with is passed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program itself, where nobody but root could have put another.
pub(super) fn trusted(path: &Path) -> Result<PathBuf, NotifyError> {
    let real = absolute(path)?
        .canonicalize()
        .map_err(|error| bad_file(path, error))?;
    let owner = rustix::process::geteuid().as_raw();
    for place in real.ancestors() {
        let about = place
            .symlink_metadata()
            .map_err(|error| bad_file(place, error))?;
        let is_program = place == real;
        if is_program && !about.is_file() {
            return Err(bad_file(place, "not a program").into());
        }
        if is_program && about.mode() & 0o111 == 0 {
            return Err(bad_file(place, "not a program: chmod 0755").into());
        }
        if about.uid() != 0 && about.uid() != owner {
            return Err(bad_file(place, "it is not root's: chown root").into());
        }
        // In a folder with the sticky bit others cannot replace what is root's.
        let sticky = about.is_dir() && about.mode() & 0o1000 != 0;
        if about.mode() & 0o022 != 0 && !sticky {
            return Err(bad_file(place, "others can write it: chmod go-w").into());
        }
    }
    Ok(real)
}

/// Runs it once.
pub(super) async fn run(program: &Program, letter: &Letter) -> Result<(), NotifyError> {
    run_within(program, letter, WHOLE).await
}

pub(super) async fn run_within(
    program: &Program,
    letter: &Letter,
    within: Duration,
) -> Result<(), NotifyError> {
    let path = trusted(&program.path)?;
    let body =
        serde_json::to_vec(letter).map_err(|error| NotifyError::Unusable(error.to_string()))?;
    let mut command = Command::new(&path);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(environment(letter))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Its own, so that what it started can be killed with it.
        .process_group(0);
    let child = command
        .spawn()
        .map_err(|error| bad_file(&path, format!("it cannot be run: {error}")))?;
    let mut running = Running::new(child);
    let input = running.child.stdin.take();
    let errors = running.child.stderr.take();
    let feed = async {
        if let Some(mut input) = input {
            // A program that does not read is free not to.
            drop(input.write_all(&body).await);
        }
    };
    let mut said = Vec::new();
    let ended = {
        let mut listen = std::pin::pin!(listen(errors, &mut said));
        let mut feed = std::pin::pin!(feed);
        let all = async {
            let (mut fed, mut heard) = (false, false);
            loop {
                tokio::select! {
                    status = running.child.wait() => break (status, heard),
                    () = &mut feed, if !fed => fed = true,
                    () = &mut listen, if !heard => heard = true,
                }
            }
        };
        match tokio::time::timeout(within, all).await {
            Ok((status, heard)) => {
                if !heard {
                    // What it left behind may hold it open for ever.
                    drop(tokio::time::timeout(AFTER, &mut listen).await);
                }
                Some(status)
            }
            Err(_) => None,
        }
    };
    let stderr = line(String::from_utf8_lossy(&said).trim());
    let mut later = false;
    let status = match ended {
        Some(Ok(status)) => {
            later = status.code() == Some(LATER);
            running.reaped = true;
            if !stderr.is_empty() {
                log::info!("{}: {stderr}", path.display());
            }
            if status.success() {
                return Ok(());
            }
            status.to_string()
        }
        Some(Err(error)) => error.to_string(),
        None => format!("nothing after {} s, and was killed", within.as_secs_f32()),
    };
    Err(NotifyError::Program {
        program: path.display().to_string(),
        status,
        stderr,
        later,
    })
}

/// What a short script needs, so that it need not read JSON.
fn environment(letter: &Letter) -> Vec<(&'static str, String)> {
    let data = &letter.data;
    let mut all = vec![
        ("BERTH_EVENT", letter.event.to_string()),
        ("BERTH_ID", letter.id.clone()),
        ("BERTH_HOST", data.host.clone()),
        ("BERTH_SUMMARY", data.summary.clone()),
    ];
    let more = [
        (
            "BERTH_PRODUCT",
            data.product.as_ref().map(ToString::to_string),
        ),
        ("BERTH_FROM", data.from.as_ref().map(ToString::to_string)),
        ("BERTH_TO", data.to.as_ref().map(ToString::to_string)),
        (
            "BERTH_SERVICE",
            data.service.as_ref().map(ToString::to_string),
        ),
        ("BERTH_CODE", data.code.map(|code| code.to_string())),
    ];
    all.extend(
        more.into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    all
}

/// Keeps the beginning, and reads the rest so that the program is not stopped by a full pipe.
async fn listen(errors: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut errors) = errors else {
        return;
    };
    let mut buffer = vec![0; SAID];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        let room = SAID - said.len();
        said.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// A program that runs. It does not outlive this: berthd may be stopped in the middle.
struct Running {
    child: Child,
    group: Option<Pid>,
    /// Its number may be another's by now.
    reaped: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            child,
            group: number.and_then(Pid::from_raw),
            reaped: false,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group.filter(|_| !self.reaped) {
            // One that has ended just now is dead already. The runtime reaps it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
