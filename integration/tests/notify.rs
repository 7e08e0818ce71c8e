//! Who is told what of real updates.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use berth_integration::{Machine, wait_for};
use serde_json::Value;

/// A program that keeps what it is told, as long as it is allowed to work.
struct Pager {
    told: PathBuf,
    works: PathBuf,
}

impl Pager {
    fn set(machine: &Machine) -> Self {
        let dir = machine.dir.path();
        let (program, told, works) = (dir.join("page-me"), dir.join("told"), dir.join("works"));
        let text = format!(
            "#!/bin/sh\nset -e\ntest -e {works} || exit 75\ncat >> {told}\necho >> {told}\n",
            works = works.display(),
            told = told.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&works, "").unwrap();
        let path = program.display().to_string();
        machine
            .berth(["notify", "set", "program", &path])
            .good()
            .unwrap();
        Self { told, works }
    }

    /// All that it was told, once it is so much.
    fn told(&self, count: usize) -> Vec<Value> {
        wait_for("somebody is told", Duration::from_mins(2), || {
            let text = std::fs::read_to_string(&self.told).ok()?;
            let all: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            (all.len() >= count).then_some(all)
        })
        .unwrap()
    }
}

fn words(told: &[Value]) -> Vec<&str> {
    told.iter().map(|t| t["type"].as_str().unwrap()).collect()
}

#[test]
fn an_update_and_one_that_goes_back_are_told() {
    let machine = Machine::with("1.1.0").unwrap();
    let pager = Pager::set(&machine);
    machine.update("1.2.0").good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let told = pager.told(2);
    assert_eq!(words(&told), ["update-begun", "update-done"]);
    assert_eq!(told[1]["data"]["from"], "1.1.0");
    assert_eq!(told[1]["data"]["to"], "1.2.0");
    assert_eq!(told[1]["data"]["product"], "lantern");

    assert_eq!(machine.update("1.3.1").code, 7);
    let told = pager.told(4);
    assert_eq!(words(&told[2..]), ["update-begun", "rolled-back"]);
    let back = &told[3]["data"];
    assert_eq!(
        (&back["from"], &back["to"]),
        (&"1.3.1".into(), &"1.2.0".into())
    );
    assert_eq!(back["code"], "unhealthy");
    let failure = &machine.history().unwrap()[0]["failure"];
    let said = back["summary"].as_str().unwrap();
    let why = failure["summary"].as_str().unwrap().trim_end_matches('.');
    assert!(said.contains(why), "{said}");

    // Updates may begin by themselves as long as somebody is told.
    machine.berth(["policy", "set", "auto"]).good().unwrap();
    let last = machine.berth(["notify", "remove", "program"]);
    assert_eq!(last.refusal(), "policy-silent", "{}", last.text);
    machine.berth(["policy", "set", "notify"]).good().unwrap();
    let gone = machine.berth(["notify", "remove", "program"]);
    assert_eq!(gone.code, 0, "{}", gone.text);
}

#[test]
fn what_nobody_could_be_told_is_told_after_a_restart() {
    let mut machine = Machine::with("1.1.0").unwrap();
    let pager = Pager::set(&machine);
    std::fs::remove_file(&pager.works).unwrap();
    machine.update("1.2.0").good().unwrap();
    machine.berthd.kill().unwrap();
    assert!(!pager.told.exists());
    std::fs::write(&pager.works, "").unwrap();
    machine.berthd.start().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(words(&pager.told(2)), ["update-begun", "update-done"]);
    let shown = machine.berth(["notify"]).good().unwrap();
    let program = &shown["receivers"]["program"];
    wait_for("it is written down", Duration::from_secs(10), || {
        let shown = machine.berth(["notify"]).good().ok()?;
        (shown["receivers"]["program"]["waiting"] == 0).then_some(())
    })
    .unwrap();
    assert!(program["receiver"]["way"]["program"]["path"].is_string());
}
