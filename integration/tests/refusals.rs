//! Bad input through the real command line: each refusal leaves everything as it was.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::fs;
use std::path::{Path, PathBuf};

use berth_integration::tamper::{Member, Parts};
use berth_integration::{Machine, World};

/// A good bundle, and what becomes of it.
struct Case {
    name: &'static str,
    codes: &'static [&'static str],
    make: fn(&Path, &Path) -> anyhow::Result<()>,
}

fn parts(good: &Path, bad: &Path, change: impl FnOnce(&mut Parts)) -> anyhow::Result<()> {
    let mut parts = Parts::read(good)?;
    change(&mut parts);
    parts.write(bad)
}

fn flip(good: &Path, bad: &Path, member: &str, at: impl Fn(usize) -> usize) -> anyhow::Result<()> {
    parts(good, bad, |parts| {
        let member = parts.find(member).unwrap();
        let body = &mut parts.members[member].body;
        let at = at(body.len());
        body[at] ^= 1;
    })
}

/// A layer that the installed release has not: what Docker holds already is not read again by an
/// update (`berth verify` reads all of it).
fn flip_new_layer(good: &Path, bad: &Path, at: impl Fn(usize) -> usize) -> anyhow::Result<()> {
    let old = Parts::read(&good.with_file_name("lantern-1.2.0.berth"))?;
    let old: Vec<String> = old.members.iter().map(Member::name).collect();
    parts(good, bad, |parts| {
        let mut members = parts.members.iter_mut();
        let new = members.find(|m| m.name().starts_with("layers/") && !old.contains(&m.name()));
        let body = &mut new.unwrap().body;
        let at = at(body.len());
        body[at] ^= 1;
    })
}

const CASES: &[Case] = &[
    Case {
        name: "not a bundle",
        codes: &["bundle-not-a-bundle"],
        make: |_, bad| Ok(fs::write(bad, "PK\x03\x04".repeat(1000))?),
    },
    Case {
        name: "empty",
        codes: &["bundle-truncated", "bundle-not-a-bundle"],
        make: |_, bad| Ok(fs::write(bad, "")?),
    },
    Case {
        name: "unsigned",
        codes: &["signature-missing"],
        make: |good, bad| parts(good, bad, |p| drop(p.members.remove(1))),
    },
    Case {
        name: "unsigned release",
        codes: &["signature-missing", "bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("release-1.4.0.json.minisig").unwrap();
                p.members.remove(at);
            })
        },
    },
    Case {
        name: "list signed by another key",
        codes: &["signature-invalid"],
        make: |good, bad| {
            parts(good, bad, |p| {
                // Another file's signature: of the same vendor, over other bytes.
                let other = p.find("release-1.4.0.json.minisig").unwrap();
                let body = p.members[other].body.clone();
                p.members[1].set_size(body.len());
                p.members[1].body = body;
            })
        },
    },
    Case {
        name: "legacy signature",
        codes: &["signature-legacy"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let text = String::from_utf8(p.members[1].body.clone()).unwrap();
                let text = text.replacen("\nRU", "\nRW", 1);
                p.members[1].body = text.into_bytes();
            })
        },
    },
    Case {
        name: "truncated in the list",
        codes: &["bundle-truncated"],
        make: |good, bad| Ok(fs::write(bad, &fs::read(good)?[..700])?),
    },
    Case {
        name: "truncated in the last layer",
        codes: &["bundle-truncated"],
        make: |good, bad| {
            let bytes = fs::read(good)?;
            Ok(fs::write(bad, &bytes[..bytes.len() - 5000])?)
        },
    },
    Case {
        name: "truncated before the end",
        codes: &["bundle-truncated"],
        make: |good, bad| {
            let bytes = fs::read(good)?;
            Ok(fs::write(bad, &bytes[..bytes.len() - 512])?)
        },
    },
    Case {
        name: "trailing bytes",
        codes: &["bundle-trailing"],
        make: |good, bad| parts(good, bad, |p| p.end.extend([0; 512])),
    },
    Case {
        name: "something at the end",
        codes: &["bundle-trailing", "bundle-damaged", "bundle-member"],
        make: |good, bad| parts(good, bad, |p| p.end[600] = 1),
    },
    Case {
        name: "flipped in the list",
        codes: &["signature-invalid"],
        make: |good, bad| flip(good, bad, "bundle.json", |size| size / 2),
    },
    Case {
        name: "flipped in the signature",
        codes: &["signature-invalid"],
        make: |good, bad| flip(good, bad, "bundle.json.minisig", |size| size - 20),
    },
    Case {
        name: "flipped in the root",
        codes: &["trust-fingerprint", "bundle-damaged"],
        make: |good, bad| flip(good, bad, "1.root.json", |size| size / 2),
    },
    Case {
        name: "flipped in a release",
        codes: &["bundle-damaged", "signature-invalid"],
        make: |good, bad| flip(good, bad, "release-1.4.0.json", |size| size / 2),
    },
    Case {
        name: "flipped in a config",
        codes: &["bundle-damaged"],
        make: |good, bad| flip(good, bad, "configs/", |size| size / 2),
    },
    Case {
        name: "flipped in a layer's first frame",
        codes: &["bundle-damaged"],
        make: |good, bad| flip_new_layer(good, bad, |size| size / 3),
    },
    Case {
        name: "flipped in a layer's last byte",
        codes: &["bundle-damaged"],
        make: |good, bad| flip_new_layer(good, bad, |size| size - 1),
    },
    Case {
        name: "flipped in a header",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members[at].header[110] ^= 1;
            })
        },
    },
    Case {
        name: "member missing",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members.remove(at);
            })
        },
    },
    Case {
        name: "member extra",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                let name = format!("layers/{}.tar.zst", "a".repeat(64));
                p.members.insert(at, Member::new(&name, b"extra"));
            })
        },
    },
    Case {
        name: "member extra at the end",
        codes: &["bundle-member", "bundle-trailing", "bundle-damaged"],
        make: |good, bad| parts(good, bad, |p| p.members.push(Member::new("x", b"extra"))),
    },
    Case {
        name: "member repeated",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members.insert(at, p.members[at].clone());
            })
        },
    },
    Case {
        name: "member renamed",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members[at].rename(&format!("layers/{}.tar.zst", "b".repeat(64)));
            })
        },
    },
    Case {
        name: "path trick",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members[at].rename("../../../../etc/cron.d/owned");
            })
        },
    },
    Case {
        name: "absolute path",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("configs/").unwrap();
                p.members[at].rename("/etc/cron.d/owned");
            })
        },
    },
    Case {
        name: "member of a wrong size",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                let size = p.members[at].body.len() - 1;
                p.members[at].body.truncate(size);
                p.members[at].set_size(size);
            })
        },
    },
    Case {
        name: "member of a size beyond all",
        codes: &["bundle-member", "bundle-too-large"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("release-1.4.0.json").unwrap();
                p.members[at].set_size(7 << 30);
            })
        },
    },
    Case {
        name: "list of a size beyond all",
        codes: &["bundle-too-large"],
        make: |good, bad| parts(good, bad, |p| p.members[0].set_size(7 << 30)),
    },
    Case {
        name: "symbolic link",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("layers/").unwrap();
                p.members[at].set_kind(b'2');
            })
        },
    },
    Case {
        name: "device",
        codes: &["bundle-member"],
        make: |good, bad| {
            parts(good, bad, |p| {
                let at = p.find("configs/").unwrap();
                p.members[at].set_kind(b'3');
            })
        },
    },
    Case {
        name: "folder as the first member",
        codes: &["bundle-not-a-bundle", "bundle-member"],
        make: |good, bad| parts(good, bad, |p| p.members[0].set_kind(b'5')),
    },
];

#[test]
fn a_broken_or_hostile_bundle_changes_nothing() {
    let machine = Machine::with("1.2.0").unwrap();
    let good = machine.published.bundle("1.4.0");
    let before = World::of(&machine).unwrap();
    let mut wrong = Vec::new();
    for case in CASES {
        let bad: PathBuf = machine.dir.path().join("bad.berth");
        (case.make)(&good, &bad).unwrap_or_else(|e| panic!("{}: {e:#}", case.name));
        let path = bad.display().to_string();
        for words in [
            vec!["verify", &path],
            vec!["update", &path, "--to", "1.4.0", "--yes", "--accept-grants"],
        ] {
            let answer = machine.berth(&words);
            let code = answer.refusal();
            let refused = case.codes.contains(&code) && answer.code != 0;
            if !refused || answer.refused["effect"] != "nothing-changed" {
                wrong.push(format!("{}: {}: {}", case.name, words[0], answer.text));
            }
        }
        let changes = before.changes(&World::of(&machine).unwrap());
        if !changes.is_empty() {
            wrong.push(format!("{}: changed:\n{changes}", case.name));
        }
        fs::remove_file(&bad).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    machine.update("1.4.0").good().unwrap();
}

#[test]
fn a_question_that_does_not_fit_changes_nothing() {
    let machine = Machine::with("1.2.0").unwrap();
    let before = World::of(&machine).unwrap();
    let bundle = |version: &str| machine.published.bundle(version).display().to_string();
    let (old, same, next) = (bundle("1.0.0"), bundle("1.2.0"), bundle("1.4.0"));
    let zeros = format!("sha256:{}", "0".repeat(64));
    let cases: &[(&[&str], &str, i32)] = &[
        (&["update", &old, "--yes"], "downgrade", 3),
        (&["update", &same, "--yes"], "already-installed", 6),
        (&["update", &next, "--to", "9.9.9", "--yes"], "not-found", 2),
        (
            &["update", &next, "--yes", "--plan", &zeros],
            "plan-moved",
            6,
        ),
        (&["install", &next, "--yes"], "already-installed", 6),
        (
            &["config", "set", "EXTERNAL_URL=not a url"],
            "config-invalid",
            2,
        ),
        (&["config", "set", "NO_SUCH_FIELD=1"], "config-unknown", 2),
        (&["logs", "nobody"], "not-found", 2),
        (&["rollback", "--confirm", "1.1.0"], "no-way-back", 6),
        // Not even a fingerprint: the command line says so by itself.
        (&["trust", "abc"], "usage", 2),
    ];
    let mut wrong = Vec::new();
    for (words, code, exit) in cases {
        let answer = machine.berth(*words);
        if answer.refusal() != *code || answer.code != *exit {
            wrong.push(format!("{words:?}: wanted {code}, {exit}: {}", answer.text));
        }
        let changes = before.changes(&World::of(&machine).unwrap());
        if !changes.is_empty() {
            wrong.push(format!("{words:?}: changed:\n{changes}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_stop_that_is_not_here_is_not_skipped() {
    let machine = Machine::with("1.0.0").unwrap();
    let before = World::of(&machine).unwrap();
    let alone = machine.published.bundle("1.4.0").display().to_string();
    let answer = machine.berth(["update", &alone, "--yes"]);
    assert_eq!(answer.refusal(), "stop-skipped", "{}", answer.text);
    assert_eq!(answer.code, 3);
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
}

#[test]
fn a_first_install_that_does_not_fit_leaves_an_empty_machine() {
    let machine = Machine::new().unwrap();
    let before = World::of(&machine).unwrap();
    let bundle = machine.published.bundle("1.0.0").display().to_string();
    let url = "EXTERNAL_URL=http://localhost:8080";
    let cases: &[(&[&str], &str)] = &[
        (&["install", &bundle, "--yes"], "config-missing"),
        (
            &[
                "install",
                &bundle,
                "--yes",
                "--set",
                "EXTERNAL_URL=nonsense",
            ],
            "config-invalid",
        ),
        (
            &[
                "install",
                &bundle,
                "--yes",
                "--set",
                url,
                "--set",
                "NO_SUCH_FIELD=1",
            ],
            "config-unknown",
        ),
        (&["update", &bundle, "--yes"], "not-installed"),
        (&["rollback", "--confirm", "1.0.0"], "not-installed"),
    ];
    let mut wrong = Vec::new();
    for (words, code) in cases {
        let answer = machine.berth(*words);
        if answer.refusal() != *code {
            wrong.push(format!("{words:?}: wanted {code}: {}", answer.text));
        }
        let changes = before.changes(&World::of(&machine).unwrap());
        if !changes.is_empty() {
            wrong.push(format!("{words:?}: changed:\n{changes}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(machine.engine.containers().unwrap().is_empty());
}
