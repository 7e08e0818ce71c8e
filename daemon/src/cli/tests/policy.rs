//! `berth policy`: what is said, and what is changed.

use jiff::Timestamp;

use super::*;
use crate::api::Held;
use crate::schedule::{Intent, Mode, Reason};

#[tokio::test]
async fn what_is_not_named_stays() {
    let machine = Machine::new();
    let shown = machine.berth("policy").await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown
            .out
            .starts_with("Updates are looked for; you begin them.")
    );

    let silent = machine.berth("policy set auto").await;
    assert_eq!(silent.code, Code::PolicySilent.kind().exit_code());
    assert!(silent.err.contains("policy-silent"), "{}", silent.err);
    assert_eq!(machine.fake.get().policy.policy.mode, Mode::Notify);

    let words = "--window=sat,sun --window=22:00-04:00";
    let bad = Args::try_parse_from(
        ["berth", "policy", "set"]
            .into_iter()
            .chain(words.split(' ')),
    );
    assert!(
        bad.unwrap_err().to_string().contains("02:00-05:00"),
        "an example"
    );

    let line = "policy set auto --silent --window=22:00-04:00 --zone Europe/Berlin --soak 3d";
    let auto = machine.berth(line).await;
    assert_eq!(auto.code, 0, "{}", auto.err);
    let line = "policy set --security-soak 2h --every 30m";
    machine.berth(line).await;
    let policy = machine.fake.get().policy.policy.clone();
    assert_eq!(policy.mode, Mode::Auto);
    assert_eq!(policy.windows, ["22:00-04:00".parse().unwrap()]);
    assert_eq!(policy.zone.as_deref(), Some("Europe/Berlin"));
    let numbers = (
        policy.soak_hours,
        policy.security_soak_hours,
        policy.every_minutes,
    );
    assert_eq!(numbers, (72, 2, 30));
    assert!(policy.silent);

    let line = "policy set --zone machine --silent=false notify";
    machine.berth(line).await;
    let policy = machine.fake.get().policy.policy.clone();
    assert_eq!(
        (policy.zone, policy.silent, policy.mode),
        (None, false, Mode::Notify)
    );

    for line in [
        "policy set sometimes",
        "policy set --soak soon",
        "policy set --soak 90m",
        "policy set --soak=-1h",
        "policy set --every 1d1",
    ] {
        let words = ["berth"].into_iter().chain(line.split(' '));
        assert!(Args::try_parse_from(words).is_err(), "{line}");
    }
}

#[tokio::test]
async fn it_says_what_happens_next_and_what_does_not() {
    let machine = Machine::new();
    {
        let mut fake = machine.fake.get();
        let status = &mut fake.policy;
        status.policy.mode = Mode::Auto;
        status.policy.zone = Some("UTC".into());
        status.held = vec![Held {
            version: "1.3.1".parse().unwrap(),
            why: "the frontend never became healthy".into(),
        }];
        status.intent = Some(Intent {
            version: "1.4.0".parse().unwrap(),
            begins: Some(Timestamp::from_second(1_800_000_000).unwrap()),
            reason: Reason::Window,
        });
    }
    let said = machine.berth("policy").await.out;
    for words in [
        "daily 02:00-05:00 (UTC)",
        "1 d",
        "1.3.1: the frontend never became healthy",
        "Version 1.4.0 begins at 2027-01-15",
        "when the window opens",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let refusal = Refusal::new(Code::GrantsNotAccepted, "it asks for more");
    machine.fake.get().policy.refused = Some(refusal);
    let said = machine.berth("policy").await.out;
    assert!(said.contains("waits for you: it asks for more"), "{said}");
    assert!(!said.contains("begins at"), "{said}");
}
