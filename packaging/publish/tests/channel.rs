//! Channels as a release engineer changes them, and as an appliance reads them.

mod shop;

use std::fs;

use berth_format::Digest;
use berth_format::channel::{Channel, Expiry, Seen, Standing, signed_name};
use berth_format::root::Root;
use berth_format::signature::file_name;

use shop::{DAY_1, DAY_2, DAY_3, Shop, contents, judge, publish, stable};

#[test]
fn from_a_build_to_a_channel_that_an_appliance_follows() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    let ran = shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
    assert_eq!(ran.out, "out/stable/channel.json\n");
    let first = judge(&shop.path("out"), "stable", &Seen::default(), DAY_1);
    assert_eq!(first.channel.serial, 1);
    assert_eq!(first.channel.published, DAY_1.parse().unwrap());
    assert_eq!(
        first.channel.expires,
        "2026-03-15T12:00:00Z".parse().unwrap()
    );

    shop.build("1.1.0", "upgrade: {stop: true}\n");
    shop.good(&publish(
        DAY_2,
        &["--release", "1.1.0", "--security", "--rollout-hours", "48"],
    ));
    let second = judge(&shop.path("out"), "stable", &first.seen, DAY_2);
    assert_eq!(second.channel.serial, 2);
    let versions: Vec<_> = second.channel.releases.iter().collect();
    assert_eq!(versions.len(), 2);
    let (version, entry) = versions[1];
    assert!(entry.stop && entry.security);
    assert_eq!(entry.rollout.as_ref().unwrap().begins, entry.published);
    // What it names is there.
    let bytes = shop.read(&format!("out/release-{version}.json"));
    assert_eq!(
        (Digest::of(&bytes), bytes.len() as u64),
        (entry.digest, entry.size)
    );
    // The old one is still there for who has read it, and no secret is.
    let all = contents(&shop.path("out"));
    assert_eq!(
        all.keys()
            .filter(|name| name.starts_with("stable/"))
            .count(),
        1 + 2 * 2
    );
    assert!(all.keys().all(|name| !name.contains("key")));

    // Again: nothing has changed. In another way: the share grows from where it began.
    let again = publish(
        DAY_3,
        &["--release", "1.1.0", "--security", "--rollout-hours", "48"],
    );
    assert!(shop.good(&again).err.contains("nothing has changed"));
    assert_eq!(contents(&shop.path("out")), all);
    shop.good(&publish(
        DAY_3,
        &["--release", "1.1.0", "--rollout", "0:10,24:100,72:1000"],
    ));
    let channel = stable(&shop, DAY_3);
    assert_eq!(channel.serial, 3);
    let entry = &channel.releases[&"1.1.0".parse().unwrap()];
    assert!(!entry.security);
    assert_eq!(entry.published, DAY_2.parse().unwrap());
    assert_eq!(
        entry.rollout.as_ref().unwrap().begins,
        DAY_2.parse().unwrap()
    );
    assert_eq!(
        entry
            .rollout
            .as_ref()
            .unwrap()
            .share(DAY_3.parse().unwrap()),
        100
    );
}

#[test]
fn the_same_commands_give_the_same_bytes() {
    let shop = Shop::with_keys();
    let make = || {
        for version in ["1.0.0", "1.1.0"] {
            shop.build(version, "");
        }
        let beta = [
            "--channel",
            "beta",
            "--release",
            "1.0.0",
            "--release",
            "1.1.0",
        ];
        shop.good(&Shop::channel("publish", DAY_1, &beta));
        let promote = ["--from", "beta", "--to", "stable", "--release", "1.0.0"];
        shop.good(&Shop::channel("promote", DAY_2, &promote));
        shop.good(&Shop::channel("refresh", DAY_3, &["--channel", "stable"]));
        let all = contents(&shop.path("out"));
        fs::remove_dir_all(shop.path("out")).unwrap();
        all
    };
    let first = make();
    assert!(first.len() > 15);
    assert!(first == make());
}

#[test]
fn promote_withdraw_and_refresh_say_what_they_should() {
    let shop = Shop::with_keys();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        shop.build(version, "");
    }
    let beta = ["--channel", "beta", "--release", "1.1.0", "--security"];
    shop.good(&Shop::channel("publish", DAY_1, &beta));
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
    let promote = ["--from", "beta", "--to", "stable", "--release", "1.1.0"];
    shop.good(&Shop::channel("promote", DAY_2, &promote));
    let channel = stable(&shop, DAY_2);
    let version = |text: &str| text.parse().unwrap();
    assert_eq!(channel.serial, 2);
    assert!(channel.releases[&version("1.1.0")].security);
    assert_eq!(
        channel.releases[&version("1.1.0")].published,
        DAY_2.parse().unwrap()
    );

    shop.good(&publish(DAY_2, &["--release", "1.2.0"]));
    let withdraw = [
        "--channel",
        "stable",
        "--release",
        "1.1.0",
        "--reason",
        "It loses mail.",
        "--superseded-by",
        "1.2.0",
    ];
    shop.good(&Shop::channel("withdraw", DAY_3, &withdraw));
    let channel = stable(&shop, DAY_3);
    assert_eq!(
        channel.standing(&version("1.1.0")),
        Standing::Withdrawn {
            reason: Some("It loses mail."),
            instead: Some(&version("1.2.0"))
        }
    );

    // Refresh changes the serial and the times, and nothing else; also long after the expiry.
    let late = "2026-08-01T00:00:00Z";
    let refresh = Shop::channel("refresh", late, &["--channel", "stable", "--days", "7"]);
    shop.good(&refresh);
    let mut refreshed = stable(&shop, late);
    assert_eq!(refreshed.expires, "2026-08-08T00:00:00Z".parse().unwrap());
    assert_eq!(refreshed.published, late.parse().unwrap());
    refreshed.serial -= 1;
    (refreshed.published, refreshed.expires) = (channel.published, channel.expires);
    assert_eq!(refreshed, channel);
    // A signed time never goes back, whatever this machine's clock says.
    shop.good(&Shop::channel("refresh", DAY_1, &["--channel", "stable"]));
    assert_eq!(stable(&shop, late).published, late.parse().unwrap());

    // The daemon comes along.
    shop.put("berthd", "a program");
    let offer = ["--channel", "stable", "--daemon-version", "0.2.0"];
    let offer = Shop::channel("daemon", late, &offer);
    shop.refused(&offer, "not-found");
    let add = [
        "daemon",
        "out",
        "--daemon-version",
        "0.2.0",
        "--file",
        "linux/amd64=berthd",
        "--key",
        "keys",
    ];
    shop.good(&add);
    shop.good(&offer);
    let berth = stable(&shop, late).berth.unwrap();
    let bytes = shop.read("out/berth-0.2.0.json");
    assert_eq!(berth.digest, Digest::of(&bytes));
    let root = Root::parse(&shop.read("keys/1.root.json")).unwrap();
    let signature = shop.read("out/berth-0.2.0.json.minisig");
    let daemon =
        berth_format::daemon::believe(&root, &berth.version, &bytes, &[signature]).unwrap();
    let file = daemon.files.values().next().unwrap();
    let program = format!("out/files/{}", file.digest.hex());
    assert_eq!(shop.read(&program), b"a program");
    // Another program is another version, and a damaged one does not leave this machine.
    shop.put("berthd", "another program");
    shop.refused(&add, "release-exists");
    shop.put(&program, "b program");
    shop.refused(&offer, "bundle-damaged");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let shop = Shop::with_keys();
    for version in ["1.0.0", "1.1.0"] {
        shop.build(version, "");
    }
    shop.build("1.2.0", "upgrade: {stop: true}\n");
    for command in ["refresh", "withdraw"] {
        let mut none = Shop::channel(command, DAY_1, &["--channel", "stable"]);
        if command == "withdraw" {
            none.extend(["--release", "1.0.0", "--reason", "x"]);
        }
        shop.refused(&none, "not-found");
    }
    shop.good(&publish(
        DAY_1,
        &["--release", "1.0.0", "--release", "1.2.0"],
    ));
    let before = contents(&shop.path("out"));
    let refused = |command: &str, rest: &[&str], code: &str| {
        shop.refused(&Shop::channel(command, DAY_2, rest), code);
        assert!(contents(&shop.path("out")) == before, "{command} {rest:?}");
    };
    let stable = ["--channel", "stable"];
    let with = |rest: &[&'static str]| [&stable[..], rest].concat();
    refused("publish", &with(&["--release", "9.0.0"]), "not-found");
    refused(
        "publish",
        &with(&["--release", "1.1.0", "--serial", "1"]),
        "usage",
    );
    refused(
        "publish",
        &with(&["--release", "1.1.0", "--rollout", "0:100,24:10"]),
        "usage",
    );
    let withdraw = |rest: &[&'static str]| with(&[&["--reason", "x"], rest].concat());
    refused("withdraw", &withdraw(&["--release", "1.1.0"]), "not-found");
    for by in ["1.0.0", "1.1.0", "1.2.0"] {
        // Not newer, not listed, and of another role.
        let rest = withdraw(&["--release", "1.0.0", "--superseded-by", by]);
        refused("withdraw", &rest, "usage");
    }
    let lines = with(&["--release", "1.0.0", "--reason", "a\nb"]);
    refused("withdraw", &lines, "usage");
    let promote = ["--from", "stable", "--to", "beta", "--release", "1.1.0"];
    refused("promote", &promote, "not-found");

    let typed_wrong = [
        "channel",
        "refresh",
        "oot",
        "--channel",
        "stable",
        "--key",
        "keys",
    ];
    shop.refused(&typed_wrong, "not-found");
    assert!(!shop.path("oot").exists());

    // The name of a channel is the name of a folder.
    for bad in ["layers", "..", "a/b", "A"] {
        let ran = shop.run(&Shop::channel("refresh", DAY_1, &["--channel", bad]));
        assert_eq!(ran.code, 2, "{bad}");
    }

    // A withdrawn release does not come back.
    shop.good(&Shop::channel(
        "withdraw",
        DAY_2,
        &withdraw(&["--release", "1.0.0"]),
    ));
    shop.refused(
        &publish(DAY_3, &["--release", "1.0.0"]),
        "release-withdrawn",
    );
    let promote = ["--from", "stable", "--to", "beta", "--release", "1.0.0"];
    shop.refused(
        &Shop::channel("promote", DAY_3, &promote),
        "release-withdrawn",
    );

    // Nor does one change that was offered.
    shop.put("product/web.conf", "listen 81\n");
    shop.put(
        "product/berth.yaml",
        "product: shop\nversion: 1.2.0\nimages: {web: {archive: web-1.2.0.tar}}\n",
    );
    let build = ["build", "product", "--out", "out", "--key", "keys"];
    shop.refused(&build, "release-exists");
    shop.good(&[&build[..], &["--replace"]].concat());
    shop.refused(&publish(DAY_3, &["--release", "1.2.0"]), "release-exists");
}

#[test]
fn what_is_damaged_on_the_vendors_disk_does_not_leave_it() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    let whole = contents(&shop.path("out"));
    for (name, bytes) in &whole {
        for cut in [false, true] {
            let mut bad = bytes.clone();
            let at = bad.len() / 2;
            bad[at] ^= 1;
            if cut {
                bad.truncate(at);
            }
            fs::write(shop.path("out").join(name), &bad).unwrap();
            let ran = shop.run(&publish(DAY_1, &["--release", "1.0.0"]));
            assert!(
                matches!(ran.code, 3 | 4),
                "{name}: {} {}",
                ran.code,
                ran.err
            );
            assert!(!shop.path("out/stable").exists(), "{name}");
        }
        fs::write(shop.path("out").join(name), bytes).unwrap();
    }
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));

    // A channel that somebody wrote on the server is not continued.
    let path = shop.path("out/stable/channel.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"serial\":1", "\"serial\":9")).unwrap();
    let refresh = Shop::channel("refresh", DAY_2, &["--channel", "stable"]);
    shop.refused(&refresh, "signature-invalid");
}

#[test]
fn after_a_rotation_of_the_channel_key_the_channel_goes_on() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
    let seen = judge(&shop.path("out"), "stable", &Seen::default(), DAY_1).seen;
    shop.good(&["root", "new-key", "new.key", "--no-password"]);
    shop.good(&[
        "root",
        "rotate",
        "keys",
        "--role",
        "channel",
        "--remove",
        "keys/channel.pub",
        "--add",
        "new.pub",
        "--now",
        DAY_1,
    ]);
    // Nothing is published while too few have signed the draft.
    let refresh = Shop::channel("refresh", DAY_2, &["--channel", "stable"]);
    shop.refused(&refresh, "signature-missing");
    shop.good(&["root", "sign", "keys/2.root.json", "--key", "keys/root.key"]);
    // The old key is none any more.
    shop.refused(&refresh, "key-unusable");
    let by_new = [
        "channel",
        "refresh",
        "out",
        "--channel",
        "stable",
        "--key",
        "new.key",
        "--roots",
        "keys",
        "--now",
        DAY_2,
    ];
    shop.good(&by_new);
    let root = Root::first(
        &shop.read("out/1.root.json"),
        &[shop.read("out/1.root.json.minisig")],
    );
    let root = root.unwrap().next(
        &shop.read("out/2.root.json"),
        &[shop.read("out/2.root.json.minisig")],
    );
    let bytes = shop.read("out/stable/channel.json");
    let signed = file_name(&signed_name(&Digest::of(&bytes)), 1);
    let accepted = seen
        .judge(
            &root.unwrap(),
            &"stable".parse().unwrap(),
            &bytes,
            &[shop.read(&format!("out/stable/{signed}"))],
            DAY_2.parse().unwrap(),
            Expiry::Enforced,
        )
        .unwrap();
    assert_eq!(accepted.channel.serial, 2);
}

#[test]
fn after_a_rotation_of_the_release_key_known_releases_are_signed_anew() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    shop.build("1.1.0", "");
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
    let old = stable(&shop, DAY_1);
    shop.good(&["root", "new-key", "keys/release-2.key", "--no-password"]);
    shop.good(&[
        "root",
        "rotate",
        "keys",
        "--role",
        "release",
        "--remove",
        "keys/release.pub",
        "--add",
        "keys/release-2.pub",
        "--now",
        DAY_1,
    ]);
    shop.good(&["root", "sign", "keys/2.root.json", "--key", "keys/root.key"]);
    // What the old key signed is none any more.
    let more = publish(DAY_2, &["--release", "1.1.0"]);
    shop.refused(&more, "signature-invalid");
    let resign = |version: &'static str| {
        [
            "resign",
            "out",
            "--release",
            version,
            "--key",
            "keys/release-2.key",
        ]
    };
    let bytes = shop.read("out/release-1.1.0.json");
    let told = shop.good(&resign("1.1.0")).out;
    assert!(told.contains(&Digest::of(&bytes).to_string()), "{told}");
    shop.good(&resign("1.0.0"));
    assert_eq!(shop.read("out/release-1.1.0.json"), bytes);
    shop.good(&more);
    // The channel still names the same bytes.
    let bytes = shop.read("out/stable/channel.json");
    let new = Channel::parse(&bytes).unwrap();
    let first = "1.0.0".parse().unwrap();
    assert_eq!(new.releases[&first], old.releases[&first]);
    // What nobody ever signed gets no signature by this.
    let bytes = shop.read("out/release-1.0.0.json");
    let text = String::from_utf8(bytes).unwrap();
    shop.put("out/release-1.0.0.json", &text.replace("shop", "shoq"));
    shop.refused(&resign("1.0.0"), "signature-invalid");
    shop.refused(&resign("9.0.0"), "not-found");
}
