//! berthd is killed once in every step, forward and back: it ends whole, old or new, by itself.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use berth_integration::Machine;

/// Kills berthd at the begin of `phase` of an update to `to` (`phase+`: at its end, before that is
/// journaled); then `expected` runs.
fn killed_in(machine: &mut Machine, phase: &str, to: &str, expected: &str) {
    eprintln!("--- killed in {phase}, on the way to {to}");
    machine.berthd.kill().unwrap();
    machine.berthd.start_holding(&[phase]).unwrap();
    let mut words = machine.update_words(to);
    words.push("--retry-quarantined".into());
    let mut update = machine.berthd.begin(words).unwrap();
    machine.wait_held(phase).unwrap();
    machine.berthd.kill().unwrap();
    // The client would wait for berthd to come back.
    update.kill().unwrap();
    update.wait().unwrap();
    machine.berthd.start().unwrap();
    machine.wait_healthy(expected).unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    let run = &machine.history().unwrap()[0];
    let outcome = if expected == to {
        "committed"
    } else {
        "rolled-back"
    };
    assert_eq!(run["ended"]["outcome"], outcome, "{phase}: {run:#}");
    let services = machine.running().unwrap().len();
    assert_eq!(services, 5, "{phase}: {:?}", machine.running());
}

#[test]
fn before_the_stop_it_stays_on_the_old_version() {
    let mut machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    for phase in ["fetch", "fetch+", "prepare+", "premigrate"] {
        let started = machine.started("db").unwrap();
        killed_in(&mut machine, phase, "1.4.0", "1.2.0");
        assert_eq!(machine.running().unwrap(), before);
        assert_eq!(machine.started("db").unwrap(), started, "{phase}");
    }
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
}

#[test]
fn between_the_stop_and_the_commit_it_goes_back() {
    let mut machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    for phase in [
        "stop",
        "stop+",
        "snapshot",
        "snapshot+",
        "migrate",
        "migrate+",
        "start+",
        "commit",
        "commit+",
    ] {
        killed_in(&mut machine, phase, "1.4.0", "1.2.0");
        assert_eq!(machine.running().unwrap(), before, "{phase}");
    }
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
}

#[test]
fn after_the_commit_it_goes_on() {
    let mut machine = Machine::with("1.0.0").unwrap();
    killed_in(&mut machine, "open+", "1.1.0", "1.1.0");
    killed_in(&mut machine, "prune", "1.2.0", "1.2.0");
    // The second hop is a run of its own kind: its doors are opened for a stack that had them.
    killed_in(&mut machine, "open", "1.4.0", "1.4.0");
}

#[test]
fn on_the_way_back_it_ends_the_way_back() {
    let mut machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    for phase in [
        "halt", "halt+", "restore", "restore+", "revive+", "discard", "discard+",
    ] {
        killed_in(&mut machine, phase, "1.3.0", "1.2.0");
        assert_eq!(machine.running().unwrap(), before, "{phase}");
    }
}

#[test]
fn the_first_install_leaves_nothing_or_all() {
    let mut machine = Machine::new().unwrap();
    for phase in ["prepare", "migrate", "start"] {
        machine.berthd.kill().unwrap();
        machine.berthd.start_holding(&[phase]).unwrap();
        let mut install = machine
            .berthd
            .begin(machine.install_words("1.0.0"))
            .unwrap();
        machine.wait_phase(phase).unwrap();
        machine.berthd.kill().unwrap();
        install.kill().unwrap();
        install.wait().unwrap();
        machine.berthd.start().unwrap();
        machine.wait_state("not-installed").unwrap();
        assert!(machine.engine.containers().unwrap().is_empty(), "{phase}");
        assert!(machine.engine.volumes().unwrap().is_empty(), "{phase}");
        assert!(machine.engine.networks().unwrap().is_empty(), "{phase}");
    }
    machine.install("1.0.0").good().unwrap();
    machine.wait_healthy("1.0.0").unwrap();
}

#[test]
fn a_rollback_by_hand_that_is_cut_off_leaves_what_runs() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
    for phase in ["snapshot", "migrate", "start"] {
        machine.berthd.kill().unwrap();
        machine.berthd.start_holding(&[phase]).unwrap();
        let mut back = machine
            .berthd
            .begin(["rollback", "--confirm", "1.2.0"])
            .unwrap();
        machine.wait_phase(phase).unwrap();
        machine.berthd.kill().unwrap();
        back.kill().unwrap();
        back.wait().unwrap();
        machine.berthd.start().unwrap();
        machine.wait_healthy("1.4.0").unwrap();
        assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    }
}
