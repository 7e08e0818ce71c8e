//! The folder that a web server serves: whole at any time, without secrets, and readable by the programs
//! that everybody has.

mod shop;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_format::channel::Seen;
use berth_format::root::Role;
use berth_format::{ChannelName, Release};
use berth_publish::channel::{Offer, PublishError, Publisher, Times};
use berth_publish::keys::Password;
use berth_publish::progress::Progress;
use berth_publish::signer::Signer;

use shop::{DAY_1, DAY_2, Shop, contents, has, judge, program, publish, stable};

#[test]
fn no_secret_key_lies_where_it_would_be_published() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    let good = publish(DAY_1, &["--release", "1.0.0"]);
    for place in ["out/forgotten.txt", "out/stable/x"] {
        let path = shop.path(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(shop.path("keys/root.key"), &path).unwrap();
        shop.refused(&good, "key-unusable");
        fs::remove_file(path).unwrap();
    }
    // The key that signs lies inside.
    fs::rename(shop.path("keys"), shop.path("out/keys")).unwrap();
    let mut inside = good.clone();
    let at = inside.iter().position(|word| *word == "keys").unwrap();
    inside[at] = "out/keys";
    shop.refused(&inside, "key-unusable");
    fs::rename(shop.path("out/keys"), shop.path("keys")).unwrap();
    shop.good(&good);
    // The key of another role does not sign a channel.
    fs::copy(shop.path("keys/release.key"), shop.path("keys/channel.key")).unwrap();
    shop.refused(&good, "key-unusable");
}

#[test]
fn two_publishers_do_not_race() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    let open = || {
        let signer =
            Signer::load(&[shop.path("keys")], Role::Channel, None, &Password::None).unwrap();
        let times = Times {
            now: DAY_1.parse().unwrap(),
            lifetime: berth_format::channel::LIFETIME,
        };
        Publisher::open(&shop.path("out"), signer, times, Progress::silent())
    };
    let first = open().unwrap();
    assert!(matches!(open(), Err(PublishError::Out(_))));
    shop.refused(&publish(DAY_1, &["--release", "1.0.0"]), "busy");
    drop(first);
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
}

#[test]
fn who_reads_half_way_sees_the_old_or_the_new_channel() {
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    shop.build("1.1.0", "");
    shop.good(&publish(DAY_1, &["--release", "1.0.0"]));
    let signer = Signer::load(&[shop.path("keys")], Role::Channel, None, &Password::None);
    let times = Times {
        now: DAY_1.parse().unwrap(),
        lifetime: berth_format::channel::LIFETIME,
    };
    let out = shop.path("out");
    let publisher = Publisher::open(&out, signer.unwrap(), times, Progress::silent()).unwrap();
    let name: ChannelName = "stable".parse().unwrap();
    let done = AtomicBool::new(false);
    let (reads, serials) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut serials, mut reads) = (Seen::default(), BTreeMap::new(), 0_u32);
            while !done.load(Ordering::Relaxed) {
                // Each request by itself, as over HTTP; `judge` panics at the first mismatch.
                let accepted = judge(&out, "stable", &seen, DAY_1);
                for version in accepted.channel.releases.keys() {
                    assert!(out.join(format!("release-{version}.json")).exists());
                }
                *serials.entry(accepted.channel.serial).or_insert(0_u32) += 1;
                seen = accepted.seen;
                reads += 1;
            }
            (reads, serials)
        });
        let offer = Offer {
            version: "1.1.0".parse().unwrap(),
            security: false,
            shares: Vec::new(),
            begins: None,
        };
        publisher.publish(&name, None, &[offer]).unwrap();
        for _ in 0..100 {
            publisher.refresh(&name).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 10 && serials.len() > 2, "{reads} {serials:?}");
    // Of the many that were published, the last are kept.
    let kept = contents(&shop.path("out/stable"));
    assert_eq!(kept.len(), 1 + 2 * 17);
    assert_eq!(stable(&shop, DAY_1).serial, 102);
}

#[test]
fn minisign_zstd_and_sha256sum_agree_with_all_that_is_published() {
    if !has("minisign") || !has("zstd") || !has("sha256sum") {
        return;
    }
    let shop = Shop::with_keys();
    for version in ["1.0.0", "1.1.0"] {
        shop.build(version, "");
    }
    let both = ["--release", "1.0.0", "--release", "1.1.0"];
    shop.good(&publish(DAY_1, &both));
    shop.good(&Shop::channel("refresh", DAY_2, &["--channel", "stable"]));
    let out = shop.path("out");
    let sum = |name: &str| {
        let (good, text) = program(&out, "sha256sum", &[name]);
        assert!(good, "{name}");
        String::from_utf8(text).unwrap()[..64].to_owned()
    };

    let mut signatures = 0;
    for name in contents(&out).keys() {
        let Some(file) = name.strip_suffix(".minisig") else {
            continue;
        };
        let role = match file.split('/').next_back().unwrap() {
            file if file.starts_with("release-") => "release",
            file if file.starts_with("channel.") => "channel",
            _ => "root",
        };
        for other in ["root", "release", "channel"] {
            let key = format!("../keys/{other}.pub");
            let (good, _) = program(&out, "minisign", &["-V", "-H", "-p", &key, "-m", file]);
            assert_eq!(good, other == role, "{name} by {other}");
        }
        signatures += 1;
    }
    assert_eq!(signatures, 1 + 2 + 2);

    // channel.json is, byte for byte, what is signed under its digest.
    let digest = sum("stable/channel.json");
    let signed = format!("stable/channel.{digest}.json");
    assert_eq!(sum(&signed), digest);
    let channel = stable(&shop, DAY_2);
    let mut layers = 0;
    for (version, entry) in &channel.releases {
        let name = format!("release-{version}.json");
        assert_eq!(sum(&name), entry.digest.hex());
        let release: Release = serde_json::from_slice(&shop.read(&format!("out/{name}"))).unwrap();
        for (diff_id, layer) in &release.layers {
            let file = format!("layers/{}.tar.zst", diff_id.hex());
            assert_eq!(sum(&file), layer.stored.digest.hex());
            let (good, tar) = program(&out, "zstd", &["-q", "-dc", &file]);
            assert!(good, "{file}");
            fs::write(out.join("tar"), tar).unwrap();
            assert_eq!(sum("tar"), diff_id.hex());
            layers += 1;
        }
        for image in release.images.values().flat_map(|i| i.platforms.values()) {
            let config = image.config.digest.hex();
            assert_eq!(sum(&format!("configs/{config}.json")), config);
        }
    }
    assert_eq!(layers, 4);
    for name in contents(&shop.path("out/files")).keys() {
        assert_eq!(sum(&format!("files/{name}")), *name);
    }
}
