//! Programs, run for real.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::program::{run, run_within, trusted};
use super::super::{Again, Announcement, Event, NotifyError, Program};
use super::letter;

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn of(path: PathBuf, announcement: &Announcement) -> Result<(), NotifyError> {
    run(&Program { path }, &letter(announcement)).await
}

#[tokio::test]
async fn a_program_gets_json_and_a_clean_environment() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let text =
        format!("cat > {at}/body; env | sort > {at}/env; pwd > {at}/pwd; echo $# > {at}/args");
    let path = script(dir.path(), "tell", &text);
    let version = "1.2.0".parse().unwrap();
    of(path, &Announcement::available(&version, None, false))
        .await
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let body: Value = serde_json::from_str(&read("body")).unwrap();
    assert_eq!(body["type"], "update-available");
    assert_eq!(body["data"]["to"], "1.2.0");
    let names: Vec<String> = read("env")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    let set_by_sh = ["PWD", "OLDPWD", "SHLVL", "_"];
    for name in &names {
        let ours = name.starts_with("BERTH_") || name == "PATH" || name == "LANG";
        assert!(ours || set_by_sh.contains(&name.as_str()), "{name}");
    }
    assert!(read("env").contains("BERTH_EVENT=update-available\n"));
    assert!(read("env").contains("BERTH_TO=1.2.0\n"));
    assert_eq!(
        (read("pwd").as_str(), read("args").as_str()),
        ("/\n", "0\n")
    );
}

#[tokio::test]
async fn a_program_that_fails_says_why_and_not_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let text = "echo 'no pager' >&2; head -c 300000 /dev/zero | tr '\\0' x >&2; exit 3";
    let error = of(script(dir.path(), "tell", text), &Announcement::test())
        .await
        .unwrap_err();
    assert_eq!(error.again(), Again::Unwanted);
    let said = error.to_string();
    assert!(
        said.contains("exit status: 3") && said.contains("no pager"),
        "{said}"
    );
    assert!(said.len() < 5000, "{}", said.len());
    let later = script(dir.path(), "later", "exit 75");
    let error = of(later, &Announcement::test()).await.unwrap_err();
    assert_eq!(error.again(), Again::Later);
    // One that does not read, and one that leaves a child behind with its standard error open.
    let quiet = script(dir.path(), "quiet", "exit 0");
    let long = Announcement::new(Event::Unhealthy, "x".repeat(900)).next("y".repeat(900));
    of(quiet, &long).await.unwrap();
    let begun = Instant::now();
    let parent = script(dir.path(), "parent", "sleep 20 & exit 0");
    of(parent, &Announcement::test()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let text = format!(
        "sleep 100 & echo $! > {0}; echo $$ >> {0}; wait",
        pids.display()
    );
    let program = Program {
        path: script(dir.path(), "hang", &text),
    };
    let test = letter(&Announcement::test());
    let error = run_within(&program, &test, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was killed"), "{error}");
    let both = std::fs::read_to_string(pids).unwrap();
    assert_eq!(both.lines().count(), 2);
    for pid in both.lines() {
        let status = PathBuf::from(format!("/proc/{pid}/status"));
        let dead = || match std::fs::read_to_string(&status) {
            // Whoever inherited it has not reaped it yet.
            Ok(text) => text.contains("State:\tZ"),
            Err(_) => true,
        };
        let begun = Instant::now();
        while !dead() {
            assert!(begun.elapsed() < Duration::from_secs(5), "{pid} lives");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn what_others_could_have_written_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "tell", "exit 0");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let problem = |path: &Path| trusted(path).err().map(|error| error.to_string());
    assert_eq!(problem(&path), None);
    for (mode, says) in [
        (0o775, "others can write"),
        (0o757, "others can write"),
        (0o644, "chmod 0755"),
    ] {
        set(&path, mode);
        let problem = problem(&path).unwrap();
        assert!(problem.contains(says), "{mode:o}: {problem}");
    }
    set(&path, 0o755);
    set(dir.path(), 0o777);
    assert!(
        problem(&path).unwrap().contains("others can write"),
        "its folder"
    );
    set(dir.path(), 0o755);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(trusted(&link).unwrap(), path.canonicalize().unwrap());
    set(&path, 0o775);
    assert!(problem(&link).is_some(), "what a link leads to counts");
    assert!(problem(dir.path()).unwrap().contains("not a program"));
    assert!(problem(Path::new("tell")).unwrap().contains("absolute"));
    assert!(problem(Path::new("/no/such/program")).is_some());
    if rustix::process::geteuid().is_root() {
        set(&path, 0o755);
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(problem(&path).unwrap().contains("not root's"));
    }
}
