//! The root of trust in the hands of several people, one after the other.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod shop;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_format::Digest;
use berth_format::root::{Role, Root};
use serde_json::Value;

use shop::{Shop, has, program};

const NOW: &str = "2026-03-01T12:00:00Z";

/// Three people with a root key each, and a key for the other two roles; one root key has a password.
fn people() -> Shop {
    let shop = Shop::new();
    for name in ["anna", "boris", "release", "channel", "eva"] {
        let file = format!("{name}.key");
        shop.good(&["root", "new-key", &file, "--no-password"]);
    }
    shop.put("word", "correct horse\n");
    shop.good(&["root", "new-key", "clara.key", "--password-file", "word"]);
    shop
}

fn init<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "root",
        "init",
        "roots",
        "--product",
        "shop",
        "--release-key",
        "release.pub",
        "--channel-key",
        "channel.pub",
        "--now",
        NOW,
    ];
    all.extend(more);
    all
}

const THREE: [&str; 6] = [
    "--root-key",
    "anna.pub",
    "--root-key",
    "boris.pub",
    "--root-key",
    "clara.pub",
];

fn sign<'a>(file: &'a str, key: &'a str) -> [&'a str; 5] {
    ["root", "sign", file, "--key", key]
}

fn show(shop: &Shop) -> Value {
    let ran = shop.good(&["root", "show", "roots", "--json"]);
    serde_json::from_str(&ran.out).unwrap()
}

fn root(shop: &Shop, version: u32, signatures: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let name = format!("roots/{version}.root.json");
    let signatures = (1..=signatures)
        .map(|n| shop.read(&berth_format::signature::file_name(&name, n)))
        .collect();
    (shop.read(&name), signatures)
}

#[test]
fn two_of_three_sign_in_turn_and_one_key_is_replaced() {
    let shop = people();
    let meta = fs::metadata(shop.path("anna.key")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let begun = shop.good(&init(&THREE));
    assert_eq!(begun.out, "roots/1.root.json\n");
    let first = "roots/1.root.json";
    assert_eq!(
        show(&shop)["roots"][0]["missing"][0],
        "0 of 2 of its own keys"
    );
    // Nobody publishes under a root that is not signed.
    shop.build_refused("signature-missing");
    shop.good(&sign(first, "anna.key"));
    // Signing twice is no second signature.
    shop.good(&sign(first, "anna.key"));
    assert!(!shop.path("roots/1.root.json.2.minisig").exists());
    shop.build_refused("signature-missing");
    // A password from a file, a descriptor's path or the environment; else there is nobody to ask.
    shop.refused(&sign(first, "clara.key"), "key-unusable");
    let wrong = shop.run_with(
        &sign(first, "clara.key"),
        &[("BERTH_KEY_PASSWORD", "horse")],
    );
    assert!(wrong.err.contains("[key-unusable]"), "{}", wrong.err);
    let ran = shop.run_with(
        &sign(first, "clara.key"),
        &[("BERTH_KEY_PASSWORD", "correct horse")],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("signed by enough keys"), "{}", ran.err);
    let (bytes, signatures) = root(&shop, 1, 2);
    let one = Root::first(&bytes, &signatures).unwrap();
    let shown = show(&shop);
    assert_eq!(shown["fingerprint"], Digest::of(&bytes).to_string());
    assert_eq!(shown["roots"][0]["missing"], serde_json::json!([]));

    // Boris has lost his key: Eva comes. Old and new keys must sign, the lost one need not.
    let second = "roots/2.root.json";
    let rotate = [
        "root",
        "rotate",
        "roots",
        "--remove",
        "boris.pub",
        "--add",
        "eva.pub",
        "--now",
        NOW,
    ];
    shop.good(&rotate);
    shop.good(&sign(second, "eva.key"));
    let missing = show(&shop)["roots"][1]["missing"].clone();
    assert_eq!(
        missing,
        serde_json::json!(["0 of 2 of the root before it", "1 of 2 of its own keys"])
    );
    shop.good(&sign(second, "anna.key"));
    let missing = show(&shop)["roots"][1]["missing"].clone();
    assert_eq!(missing, serde_json::json!(["1 of 2 of the root before it"]));
    let (bytes, signatures) = root(&shop, 2, 2);
    assert!(one.next(&bytes, &signatures).is_err());
    // Also the key that goes may speak for the old root.
    shop.good(&sign(second, "boris.key"));
    let (bytes, signatures) = root(&shop, 2, 3);
    let two = one.next(&bytes, &signatures).unwrap();
    assert_eq!((two.version, two.keys(Role::Root).len()), (2, 3));
    assert_eq!(two.expires, one.expires);
}

#[test]
fn a_draft_changes_only_while_nobody_has_signed_it() {
    let shop = people();
    shop.good(&init(&[
        "--root-key",
        "anna.pub",
        "--threshold",
        "1",
        "--years",
        "2",
    ]));
    let add = [
        "root",
        "add-key",
        "roots",
        "--role",
        "root",
        "boris.pub",
        "--threshold",
        "2",
    ];
    shop.good(&add);
    assert!(!shop.path("roots/2.root.json").exists());
    let shown = show(&shop);
    assert_eq!(shown["roots"][0]["expires"], "2028-02-29T12:00:00Z");
    assert_eq!(shown["roots"][0]["roles"]["root"]["threshold"], 2);
    shop.refused(&add, "key-unusable");
    shop.good(&sign("roots/1.root.json", "anna.key"));
    let more = ["root", "add-key", "roots", "--role", "channel", "eva.pub"];
    let ran = shop.run(&more);
    assert!(ran.err.contains("signed already"), "{}", ran.err);
    shop.good(&sign("roots/1.root.json", "boris.key"));
    // Now it is done, and a change is the next version.
    shop.good(&more);
    assert_eq!(
        show(&shop)["roots"][1]["roles"]["channel"]["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // Renewing the expiry is a rotation without keys.
    fs::remove_file(shop.path("roots/2.root.json")).unwrap();
    let renew = ["root", "rotate", "roots", "--years", "1", "--now", NOW];
    shop.good(&renew);
    assert_eq!(show(&shop)["roots"][1]["expires"], "2027-03-01T12:00:00Z");
}

#[test]
fn what_makes_no_root_is_refused() {
    let shop = people();
    // Two of one cannot be.
    shop.refused(&init(&["--root-key", "anna.pub"]), "manifest-invalid");
    assert!(!shop.path("roots/1.root.json").exists());
    let twice = ["--root-key", "anna.pub", "--root-key", "anna.pub"];
    shop.refused(&init(&twice), "key-unusable");
    shop.refused(
        &init(&["--root-key", "word", "--threshold", "1"]),
        "key-unusable",
    );
    shop.refused(
        &init(&["--root-key", "anna.key", "--threshold", "1"]),
        "key-unusable",
    );
    shop.good(&init(&THREE));
    shop.refused(&init(&THREE), "key-unusable");
    // Only who is named signs.
    for stranger in ["eva.key", "release.key"] {
        shop.refused(&sign("roots/1.root.json", stranger), "key-unusable");
    }
    shop.refused(&sign("roots/2.root.json", "anna.key"), "key-unusable");
    let remove = ["root", "rotate", "roots", "--remove", "eva.pub"];
    shop.refused(&remove, "key-unusable");
    // Too few are left for the threshold.
    let remove = [
        "root",
        "rotate",
        "roots",
        "--remove",
        "anna.pub",
        "--remove",
        "boris.pub",
    ];
    shop.refused(&remove, "manifest-invalid");
    assert_eq!(
        show(&shop)["roots"][0]["roles"]["root"]["keys"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let nowhere = ["root", "show", "nowhere"];
    shop.refused(&nowhere, "key-unusable");
}

#[test]
fn two_keys_sign_releases_and_channels_where_the_root_wants_two() {
    let shop = people();
    shop.good(&init(&["--root-key", "anna.pub", "--threshold", "1"]));
    for (role, key) in [("release", "eva.pub"), ("channel", "eva.pub")] {
        let add = [
            "root",
            "add-key",
            "roots",
            "--role",
            role,
            key,
            "--threshold",
            "2",
        ];
        shop.good(&add);
    }
    shop.good(&sign("roots/1.root.json", "anna.key"));
    let with = |command: &[&'static str], keys: &[&'static str]| {
        let mut all = command.to_vec();
        for key in keys {
            all.extend(["--key", key]);
        }
        all.extend(["--roots", "roots"]);
        all
    };
    shop.image("1.0.0");
    let build = ["build", "product", "--out", "out"];
    shop.refused(&with(&build, &["release.key"]), "key-unusable");
    shop.refused(
        &with(&build, &["release.key", "release.key"]),
        "key-unusable",
    );
    shop.good(&with(&build, &["release.key", "eva.key"]));
    assert!(shop.path("out/release-1.0.0.json.2.minisig").exists());
    let publish = [
        "channel",
        "publish",
        "out",
        "--channel",
        "stable",
        "--release",
        "1.0.0",
        "--now",
        NOW,
    ];
    shop.refused(&with(&publish, &["channel.key"]), "key-unusable");
    shop.good(&with(&publish, &["channel.key", "eva.key"]));
    // The same in a bundle, with every signature.
    let bundle = ["bundle", "out", "--out", "shop.berth"];
    shop.good(&with(&bundle, &["eva.key", "release.key"]));
    shop.good(&["verify", "shop.berth", "--root", "roots/1.root.json"]);
    // One of the two is lost: such a release is none.
    fs::remove_file(shop.path("out/release-1.0.0.json.2.minisig")).unwrap();
    shop.refused(
        &with(&bundle, &["eva.key", "release.key"]),
        "signature-missing",
    );
}

#[test]
fn minisign_makes_the_keys_and_verifies_the_roots() {
    if !has("minisign") {
        return;
    }
    let shop = Shop::new();
    let dir = shop.path("");
    for name in ["a", "b", "c"] {
        let (secret, public) = (format!("{name}.key"), format!("{name}.pub"));
        let arguments = ["-G", "-W", "-f", "-p", &public, "-s", &secret];
        assert!(program(&dir, "minisign", &arguments).0);
    }
    shop.good(&[
        "root",
        "init",
        "roots",
        "--product",
        "shop",
        "--root-key",
        "a.pub",
        "--root-key",
        "b.pub",
        "--release-key",
        "c.pub",
        "--now",
        NOW,
    ]);
    let first = "roots/1.root.json";
    shop.good(&sign(first, "a.key"));
    // The second signs with minisign itself, under the name that comes next.
    let comment = "berth type=root product=shop version=1";
    let arguments = [
        "-S",
        "-W",
        "-H",
        "-s",
        "b.key",
        "-t",
        comment,
        "-m",
        first,
        "-x",
        "roots/1.root.json.2.minisig",
    ];
    assert!(program(&dir, "minisign", &arguments).0);
    assert_eq!(show(&shop)["roots"][0]["missing"], serde_json::json!([]));
    for (key, signature) in [
        ("a.pub", "roots/1.root.json.minisig"),
        ("b.pub", "roots/1.root.json.2.minisig"),
    ] {
        let arguments = ["-V", "-H", "-p", key, "-x", signature, "-m", first];
        assert!(program(&dir, "minisign", &arguments).0, "{key}");
    }
    let (bytes, signatures) = root(&shop, 1, 2);
    assert!(Root::first(&bytes, &signatures).is_ok());
    // A key of which a byte was lost signs nothing.
    let text = String::from_utf8(shop.read("a.key")).unwrap();
    let line = text.lines().nth(1).unwrap();
    let mut bytes = STANDARD.decode(line).unwrap();
    for at in [62, 94, 125] {
        bytes[at] ^= 1;
        shop.put("a.key", &text.replace(line, &STANDARD.encode(&bytes)));
        shop.refused(&sign(first, "a.key"), "key-unusable");
        bytes[at] ^= 1;
    }
}

impl Shop {
    fn build_refused(&self, code: &str) {
        self.image("1.0.0");
        let build = [
            "build",
            "product",
            "--out",
            "out",
            "--key",
            "release.key",
            "--roots",
            "roots",
        ];
        self.refused(&build, code);
    }
}
