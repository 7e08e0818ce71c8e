//! The command line against a served API, as a script would run it: no terminal.

use std::path::PathBuf;
use std::time::Duration;

use berth_format::config::FieldKind;
use berth_format::{Code, Digest, Refusal};
use clap::{CommandFactory, Parser};
use serde_json::Value;
use tokio::sync::watch;

use super::{Args, Terminal, run};
use crate::api::{Check, Notice};
use crate::http::fake::{Fake, field};
use crate::http::{Sockets, run as serve};
use crate::update::{Event, Phase, Step, Undo};

mod policy;

struct Machine {
    fake: Fake,
    dir: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

struct Said {
    code: u8,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopped) = watch::channel(false);
        let sockets = Sockets::bind(&dir.path().join("berth.sock")).unwrap();
        let fake = Fake::new();
        tokio::spawn(serve(sockets, fake.clone(), stopped));
        Self {
            fake,
            dir,
            _stop: stop,
        }
    }

    fn bundle(&self) -> PathBuf {
        let path = self.dir.path().join("lantern.berth");
        std::fs::write(&path, "a bundle").unwrap();
        path
    }

    async fn berth(&self, line: &str) -> Said {
        let socket = self.dir.path().join("berth.sock");
        berth(&socket, line).await
    }
}

/// Runs a command line; `BUNDLE` in it stays one word.
async fn berth(socket: &std::path::Path, line: &str) -> Said {
    let words = ["berth", "--socket", socket.to_str().unwrap()];
    let args = Args::try_parse_from(words.into_iter().chain(line.split_whitespace())).unwrap();
    let (mut terminal, out, err) = Terminal::captured(args.json);
    let code = run(args, &mut terminal).await;
    Said {
        code,
        out: out.text(),
        err: err.text(),
    }
}

#[test]
fn the_arguments_hold_together() {
    Args::command().debug_assert();
}

#[test]
fn every_command_of_the_readme_is_understood() {
    for line in [
        "install x.berth --set A=b --from-file C=d --accept-grants --yes",
        "install",
        "install --to 1.0.0",
        "install x.berth --accept-expired-channel",
        "plan",
        "plan x.berth --to 1.2.0 --accept-expired-channel",
        "plan --rollback",
        "update",
        "update x.berth --to 1.2.0 --yes --retry-quarantined",
        "rollback --confirm 1.3.0",
        "rollback --resume",
        "reconfigure --yes",
        "status --json",
        "history 3",
        "history -n 5",
        "logs db -f -n 20",
        "events -f",
        "config",
        "config get NAME",
        "config set A=b C=d --from-file E=f",
        "config set --from-file E=f",
        "config unset A",
        "verify x.berth",
        "verify x.berth --accept-expired-channel",
        "update x.berth --accept-expired-channel",
        "trust",
        "notify",
        "notify set webhook https://h.example/x --secret-file s --only halted,disk-low --name ops",
        "notify set mail m.example --from a@b --to c@d --to e@f --security starttls --port 25",
        "notify set mail m.example --from a@b --to c@d --user u --password-file p",
        "notify set program /usr/local/sbin/page-me",
        "notify test ops",
        "notify log -n 5",
        "notify remove ops",
    ] {
        let args = ["berth"].into_iter().chain(line.split_whitespace());
        assert!(Args::try_parse_from(args).is_ok(), "{line}");
    }
    for line in [
        "",
        "install --accept-expired-channel",
        "update --accept-expired-channel",
        "verify --accept-expired-channel",
        "update --plan 12",
        "rollback --resume --confirm 1.0.0",
        "logs ../db",
        "config set",
        "config unset",
        "trust --replace",
        "notify set webhook https://h.example/x",
        "notify set mail m.example --from a@b",
        "notify set mail m.example --from a@b --to c@d --user u",
        "notify set program /x --only nonsense",
        "plan x.berth --rollback",
    ] {
        let args = ["berth"].into_iter().chain(line.split_whitespace());
        let error = Args::try_parse_from(args).unwrap_err();
        assert_eq!(
            error.exit_code(),
            i32::from(Code::Usage.kind().exit_code()),
            "{line}"
        );
    }
}

#[tokio::test]
async fn status_is_a_sentence_then_a_table() {
    let machine = Machine::new();
    let said = machine.berth("status").await;
    assert_eq!(said.code, 0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines[0], "Lantern is running well.");
    assert!(
        lines[1].starts_with("Version 1.0.0, since "),
        "{}",
        said.out
    );
    assert_eq!(
        lines[2],
        "1.1.0 is here: `berth plan` shows what an update would do."
    );
    assert_eq!(
        lines[5],
        "  db              127.0.0.1:3080 -> 3080/tcp  healthy"
    );
    assert!(!said.out.contains('\x1b'), "no colour without a terminal");
    let json: Value = serde_json::from_str(&machine.berth("status --json").await.out).unwrap();
    assert_eq!(json["state"], "healthy");
}

#[tokio::test]
async fn a_plan_says_what_it_costs() {
    let machine = Machine::new();
    let said = machine.berth("plan").await;
    let digest = machine.fake.get().plan.digest;
    assert_eq!(
        said.out,
        format!(
            "\
Update Lantern 1.0.0 to 1.1.0.

  fetches          84.2 MB into Docker
  away             from the first stop until every service is healthy
  if it fails      it goes back by itself, data included
  once it is done  schema-12 cannot be reversed: `berth rollback` puts the copy from before it back, and what was written since is lost

    replaced       frontend
    restarted      cache
    not touched    gateway
    migrates       schema-12 (cannot be reversed)
    copies before  lantern_db

Read this first:
  - The volume media is on NFS: a rollback does not bring it back.

This machine is ready: every check is good.
  good  disk  20 GB are free.

Plan {digest}
"
        )
    );
    assert_eq!(said.code, 0);
    machine.fake.get().plan.checks.push(Check {
        name: "ports".into(),
        summary: "Port 80 is taken by nginx.".into(),
        refusal: Some(Refusal::new(Code::PortInUse, "port 80 is in use")),
    });
    let said = machine.berth("plan --json").await;
    assert_eq!(said.code, Code::PortInUse.kind().exit_code());
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["checks"][1]["refusal"]["code"], "port-in-use");
}

#[tokio::test]
async fn nothing_begins_without_a_yes() {
    let machine = Machine::new();
    let said = machine.berth("update").await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--yes"), "{}", said.err);
    let said = machine.berth("rollback").await;
    assert_eq!(said.code, Code::ConfirmationWanted.kind().exit_code());
    assert!(said.err.contains("--confirm 1.1.0"), "{}", said.err);
    let said = machine.berth("rollback --confirm 1.0").await;
    assert_eq!(said.code, Code::ConfirmationWanted.kind().exit_code());
    let other = Digest::of(b"another plan");
    let said = machine.berth(&format!("update --plan {other}")).await;
    assert_eq!(said.code, Code::PlanMoved.kind().exit_code());
    assert!(machine.fake.get().applied.is_empty());
}

/// Runs the fake's run as soon as it is begun.
fn when_applied(fake: &Fake, then: impl FnOnce(&Fake) + Send + 'static) {
    let fake = fake.clone();
    tokio::spawn(async move {
        while fake.get().run.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Some of it comes from the store, some live.
        tokio::time::sleep(Duration::from_millis(20)).await;
        then(&fake);
    });
}

#[tokio::test]
async fn an_update_is_followed_to_its_end() {
    let machine = Machine::new();
    when_applied(&machine.fake, Fake::goes_well);
    let line = format!("update --yes {}", machine.bundle().display());
    let said = machine.berth(&line).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let end = said.out.split_once("Plan sha256:").unwrap().1;
    let steps = end.split_once('\n').unwrap().1;
    assert_eq!(
        steps,
        "
  fetch       images are in Docker  2.0 s
  stop        what changes is stopped  1.0 s
  start       every service is healthy  6.0 s
  open        the product can be reached  2.0 s
Lantern 1.1.0 runs. It was away for 9.0 s.
"
    );
    let inner = machine.fake.get();
    assert_eq!(inner.opened, ["a bundle"]);
    assert_eq!(inner.applied[0].plan.bundle, Some(1));
    assert_eq!(
        inner.applied[0].digest,
        Some(inner.plan.digest),
        "what was shown"
    );
}

#[tokio::test]
async fn an_update_that_goes_back_says_why_and_where_to() {
    let machine = Machine::new();
    when_applied(&machine.fake, Fake::goes_back);
    let said = machine.berth("update --yes").await;
    assert_eq!(said.code, Code::Unhealthy.kind().exit_code());
    let going_back = said
        .out
        .lines()
        .position(|line| line == "Going back.")
        .unwrap();
    let failed = said.out.lines().nth(going_back - 1).unwrap();
    assert_eq!(failed, "    frontend answered 500");
    assert!(
        said.err
            .starts_with("frontend did not become healthy [unhealthy]\n"),
        "{}",
        said.err
    );
    assert!(said.err.contains("rolled back to 1.0.0"), "{}", said.err);

    let said = machine.berth("history").await;
    assert!(
        said.out.ends_with("1.0.0 -> 1.1.0  went back: frontend did not become healthy [unhealthy]: answered 500 / panicked at main.rs\n"),
        "{}", said.out
    );
}

#[tokio::test]
async fn json_is_one_document_a_line_to_the_end() {
    let machine = Machine::new();
    when_applied(&machine.fake, Fake::goes_back);
    let said = machine.berth("update --yes --json").await;
    let kinds: Vec<String> = said
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["type"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("plan"));
    assert_eq!(kinds.last().map(String::as_str), Some("ended"));
    let refusal: Refusal = serde_json::from_str(&said.err).unwrap();
    assert_eq!(refusal.code, Code::Unhealthy);
}

#[tokio::test]
async fn a_halt_is_not_waited_on() {
    let machine = Machine::new();
    when_applied(&machine.fake, |fake| {
        fake.journal(Phase::Back(Undo::Restore), Event::Begun, 1, "");
        fake.journal(Phase::Back(Undo::Restore), Event::Failed, 2, "disk is gone");
        fake.journal(Phase::Halted(Undo::Restore), Event::Begun, 2, "");
    });
    let said = machine.berth("update --yes").await;
    assert_eq!(said.code, Code::RollbackFailed.kind().exit_code());
    assert!(said.err.contains("disk is gone"), "{}", said.err);
    assert!(said.err.contains("berth rollback --resume"), "{}", said.err);
}

#[tokio::test]
async fn a_run_is_followed_through_a_restart_of_berthd() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("berth.sock");
    let fake = Fake::new();
    let (stop, stopped) = watch::channel(false);
    let first = tokio::spawn(serve(
        Sockets::bind(&socket).unwrap(),
        fake.clone(),
        stopped,
    ));
    let (other, place) = (fake.clone(), socket.clone());
    tokio::spawn(async move {
        while other.get().run.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.journal(Phase::Forward(Step::Fetch), Event::Begun, 0, "");
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send(true).unwrap();
        first.await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (_stop, stopped) = watch::channel(false);
        let sockets = Sockets::bind(&place).unwrap();
        tokio::spawn(serve(sockets, other.clone(), stopped));
        other.journal(Phase::Forward(Step::Fetch), Event::Done, 4, "");
        other.end(crate::store::Outcome::Committed, None);
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let said = berth(&socket, "update --yes").await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("berthd does not answer"), "{}", said.out);
    assert!(
        said.out.contains("images are in Docker  4.0 s"),
        "{}",
        said.out
    );
}

#[tokio::test]
async fn what_an_install_needs_is_said_at_once_and_a_secret_never() {
    let machine = Machine::new();
    let bundle = machine.bundle();
    let installed = machine
        .berth(&format!(
            "install --yes --set EXTERNAL_URL=https://a {}",
            bundle.display()
        ))
        .await;
    assert_eq!(installed.code, Code::AlreadyInstalled.kind().exit_code());
    machine.fake.get().status.version = None;
    // Nobody is there to be asked: berthd says what is missing, beside all else.
    let good = machine.fake.get().plan.checks.clone();
    let wrong = |code: Code| Check {
        name: "any".into(),
        summary: code.means().into(),
        refusal: Some(Refusal::new(code, code.means())),
    };
    machine.fake.get().plan.checks = vec![wrong(Code::ConfigMissing), wrong(Code::PortInUse)];
    let said = machine
        .berth(&format!("install --yes {}", bundle.display()))
        .await;
    assert_eq!(said.code, Code::PreflightFailed.kind().exit_code());
    for code in [Code::ConfigMissing, Code::PortInUse] {
        assert!(said.err.contains(&format!("[{code}]")), "{}", said.err);
    }
    assert!(machine.fake.get().applied.is_empty());
    machine.fake.get().plan.checks = good;
    let secret = machine.dir.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    when_applied(&machine.fake, Fake::goes_well);
    let said = machine
        .berth(&format!(
            "install --yes --set EXTERNAL_URL=https://a --from-file DB_PASSWORD={} {}",
            secret.display(),
            bundle.display()
        ))
        .await;
    assert_eq!(said.code, 0, "{}", said.err);
    let shown = machine.berth("config").await;
    assert!(shown.out.contains("set, never shown"), "{}", shown.out);
    let alone = machine.berth("config get DB_PASSWORD").await;
    assert_eq!((alone.out.as_str(), alone.code), ("", 0));
    assert_eq!(
        machine.berth("config get EXTERNAL_URL").await.out,
        "https://a\n"
    );
    for said in [said, shown, alone] {
        assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
    }
}

#[tokio::test]
async fn config_is_set_all_or_none() {
    let machine = Machine::new();
    machine.fake.get().config.push(field("N", FieldKind::Int));
    let said = machine.berth("config set EXTERNAL_URL=a NOTHING=b").await;
    assert_eq!(said.code, Code::ConfigUnknown.kind().exit_code());
    let said = machine
        .berth("config set EXTERNAL_URL=a EXTERNAL_URL=b")
        .await;
    assert_eq!(said.code, 2);
    let said = machine.berth("config set secret-without-a-name").await;
    assert!(!said.err.contains("secret-without-a-name"), "{}", said.err);
    let said = machine.berth("config set N=1 EXTERNAL_URL=https://b").await;
    assert_eq!(
        said.out,
        "2 values changed. `berth reconfigure` applies it; so does the next update.\n"
    );
}

#[tokio::test]
async fn a_bundle_is_verified_with_a_verdict() {
    let machine = Machine::new();
    let bundle = machine.bundle();
    let said = machine.berth(&format!("verify {}", bundle.display())).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out
            .starts_with("Every byte is as its vendor signed it. 8 bytes in ")
    );
    std::fs::write(&bundle, "x").unwrap();
    let said = machine.berth(&format!("verify {}", bundle.display())).await;
    assert_eq!(said.code, Code::BundleTruncated.kind().exit_code());
    let said = machine.berth("verify /nowhere.berth").await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("/nowhere.berth"), "{}", said.err);
}

#[tokio::test]
async fn logs_and_events_are_lines() {
    let machine = Machine::new();
    let said = machine.berth("logs db -n 2").await;
    assert_eq!(said.out, "line 0\nline 1\n");
    let said = machine.berth("logs db -n 1 --json").await;
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap()["line"],
        "line 0"
    );
    assert_eq!(machine.berth("events").await.out, "");
    machine.fake.begin();
    machine.fake.goes_well();
    let said = machine.berth("events --json").await;
    assert_eq!(said.out.lines().count(), 8);
    let first: Notice = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert!(matches!(first, Notice::Journal(entry) if entry.seq == 1));
    assert_eq!(
        machine.berth("events 8").await.code,
        Code::NotFound.kind().exit_code()
    );
}

#[tokio::test]
async fn trust_is_said_and_not_replaced_by_chance() {
    let machine = Machine::new();
    let said = machine.berth("trust").await;
    assert!(said.out.starts_with("This machine trusts nobody yet."));
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(machine.berth(&format!("trust {one}")).await.code, 0);
    assert_eq!(machine.berth(&format!("trust {two}")).await.code, 4);
    assert_eq!(
        machine.berth(&format!("trust {two} --replace")).await.code,
        0
    );
}

#[tokio::test]
async fn without_berthd_it_says_so() {
    let said = berth(std::path::Path::new("/nowhere/berth.sock"), "status").await;
    assert_eq!(said.code, Code::BerthdGone.kind().exit_code());
    assert!(said.err.contains("systemctl status berthd"), "{}", said.err);
    let said = berth(std::path::Path::new("/nowhere/berth.sock"), "status --json").await;
    let refusal: Refusal = serde_json::from_str(&said.err).unwrap();
    assert_eq!(refusal.code, Code::BerthdGone);
}

#[tokio::test]
async fn who_is_told_is_set_shown_tested_and_removed() {
    let machine = Machine::new();
    let said = machine.berth("notify").await;
    assert!(said.out.contains("Nobody is told"), "{}", said.out);
    let set = "notify set webhook https://hooks.example/T0/s3cret --secret-file /etc/berth/hook";
    let said = machine.berth(set).await;
    assert_eq!(
        said.out,
        "webhook is told from now on: https://hooks.example/….\n\
         Try it: `berth notify test webhook`.\n"
    );
    let set =
        "notify set mail m.example --from a@b.example --to c@d.example --only halted --name ops";
    assert_eq!(machine.berth(set).await.code, 0);
    assert_eq!(
        machine.berth("notify").await.out,
        "\
2 receivers are told.

  name     where                     of
  ops      c@d.example by m.example  halted      2 waiting
  webhook  https://hooks.example/…   everything  2 waiting
"
    );
    let json: Value = serde_json::from_str(&machine.berth("notify --json").await.out).unwrap();
    let shown = &json["receivers"]["webhook"]["receiver"]["way"]["webhook"]["url"];
    assert_eq!(shown, "https://hooks.example/…");

    let said = machine.berth("notify test").await;
    assert_eq!(said.code, Code::NotifyFailed.kind().exit_code());
    assert_eq!(
        said.out,
        "ops      delivered in 0.1 s\nwebhook  not delivered: hooks.example: 503\n"
    );
    assert_eq!(machine.berth("notify test ops").await.code, 0);
    assert_eq!(machine.berth("notify remove ops").await.code, 0);
    let gone = machine.berth("notify remove ops").await;
    assert_eq!(gone.code, Code::NotFound.kind().exit_code());
    assert!(gone.err.contains("[not-found]"), "{}", gone.err);
}
