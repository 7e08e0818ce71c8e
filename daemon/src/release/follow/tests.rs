//! A server that answers as it likes, and what is kept of it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Mutex;

use berth_format::Product;
use berth_format::canonical;
use berth_format::root::{FORMAT, Keys};
use berth_format::signature::Subject;
use minisign::KeyPair;

use super::*;
use crate::store::ChannelSettings;

mod published;

/// What the server has, by name, and what it was asked.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
    /// It says "not modified" to whoever has something.
    stands_still: bool,
}

impl Web for Server {
    async fn small(
        &self,
        name: &str,
        _: Small,
        known: Option<&Tag>,
    ) -> Result<Answer, DownloadError> {
        self.asked.lock().unwrap().push(name.to_owned());
        if self.stands_still && known.is_some() {
            return Ok(Answer::NotModified);
        }
        Ok(match self.files.get(name) {
            Some(bytes) => Answer::Fresh {
                bytes: bytes.clone(),
                tag: serde_json::from_value(serde_json::json!({"mirror": "m", "etag": "\"1\""}))
                    .ok(),
            },
            None => Answer::Missing,
        })
    }
}

/// The vendor's keys.
struct Vendor {
    root: KeyPair,
    release: KeyPair,
    channel: KeyPair,
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn product() -> Product {
    "shop".parse().unwrap()
}

fn stable() -> ChannelName {
    "stable".parse().unwrap()
}

fn sign(pair: &KeyPair, bytes: &[u8], subject: &Subject<'_>) -> Vec<u8> {
    let comment = subject.to_string();
    let text = minisign::sign(
        None,
        &pair.sk,
        Cursor::new(bytes),
        Some(&comment),
        Some("x"),
    );
    text.unwrap().into_string().into_bytes()
}

impl Vendor {
    fn new() -> Self {
        let pair = || KeyPair::generate_unencrypted_keypair().unwrap();
        Self {
            root: pair(),
            release: pair(),
            channel: pair(),
        }
    }

    /// Publishes a root; `signer` has signed it too, where it follows another.
    fn root(&self, server: &mut Server, version: u32, signer: &KeyPair) -> Digest {
        let keys = |pair: &KeyPair| Keys {
            threshold: 1,
            keys: vec![pair.pk.to_base64()],
        };
        let root = Root {
            format: FORMAT,
            product: product(),
            version,
            expires: time("2036-01-01T00:00:00Z"),
            roles: [
                (Role::Root, keys(&self.root)),
                (Role::Release, keys(&self.release)),
                (Role::Channel, keys(&self.channel)),
            ]
            .into(),
        };
        let bytes = canonical(&root);
        let product = product();
        let subject = Subject::Root {
            product: &product,
            version,
        };
        let name = root::file_name(version);
        for (n, pair) in [signer, &self.root].into_iter().enumerate() {
            let signature = sign(pair, &bytes, &subject);
            let file = signature::file_name(&name, n + 1);
            server.files.insert(file, signature);
        }
        let digest = Digest::of(&bytes);
        server.files.insert(name, bytes);
        digest
    }

    fn channel(&self, server: &mut Server, serial: u64, expires: &str) {
        self.offer(server, serial, expires, BTreeMap::new());
    }

    /// Publishes a channel with these releases.
    fn offer(
        &self,
        server: &mut Server,
        serial: u64,
        expires: &str,
        releases: BTreeMap<Version, Entry>,
    ) {
        let channel = Channel {
            format: channel::FORMAT,
            product: product(),
            channel: stable(),
            serial,
            published: time("2026-01-01T00:00:00Z"),
            expires: time(expires),
            releases,
            berth: None,
        };
        self.put(server, serial, channel.to_bytes());
    }

    /// Publishes these bytes as the channel.
    fn put(&self, server: &mut Server, serial: u64, bytes: Vec<u8>) {
        let (product, name) = (product(), stable());
        let subject = Subject::Channel {
            product: &product,
            channel: &name,
            serial,
        };
        let signed = channel::signed_name(&Digest::of(&bytes));
        let file = signature::file_name(&format!("stable/{signed}"), 1);
        let signature = sign(&self.channel, &bytes, &subject);
        server.files.insert(file, signature);
        server.files.insert("stable/channel.json".into(), bytes);
    }
}

/// An appliance that confirmed this fingerprint.
fn appliance(fingerprint: Digest) -> Store {
    let store = Store::in_memory().unwrap();
    let trust = Trust {
        fingerprint: Some(fingerprint),
        ..Trust::default()
    };
    store.set_trust(&trust).unwrap();
    let settings = ChannelSettings {
        name: stable(),
        mirrors: vec!["https://dl.example/".into()],
        proxy: None,
        ca_file: None,
        token_file: None,
        user: None,
        bandwidth: None,
        allow_http: false,
        allow_private: false,
    };
    store.set_following(Some(&settings)).unwrap();
    store
}

const LATER: &str = "2026-02-01T00:00:00Z";

async fn look(server: &Server, store: &Store, clock: &str) -> Result<u64, FollowError> {
    let channel = check(server, store, None, time(clock)).await?;
    Ok(channel.serial)
}

fn kept_serial(store: &Store) -> Option<u64> {
    let trust = store.trust().unwrap();
    trust.seen.get(&stable()).map(|kept| kept.serial)
}

fn root_version(store: &Store) -> u32 {
    let text = store.trust().unwrap().root.unwrap();
    Root::parse(text.as_bytes()).unwrap().version
}

#[tokio::test]
async fn a_check_asks_for_the_next_root_then_the_channel_and_nothing_else() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 3, LATER);
    let clock = "2026-01-02T00:00:00Z";
    assert_eq!(look(&server, &store, clock).await.unwrap(), 3);
    server.asked.lock().unwrap().clear();
    server.stands_still = true;
    assert_eq!(look(&server, &store, clock).await.unwrap(), 3);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked, ["2.root.json", "stable/channel.json"]);
}

#[tokio::test]
async fn arbitrary_install_another_root_than_the_confirmed_one_is_refused() {
    let (vendor, thief, mut server) = (Vendor::new(), Vendor::new(), Server::default());
    let fingerprint = vendor.root(&mut server, 1, &vendor.root);
    let store = appliance(fingerprint);
    thief.root(&mut server, 1, &thief.root);
    thief.channel(&mut server, 9, LATER);
    let error = look(&server, &store, "2026-01-02T00:00:00Z")
        .await
        .unwrap_err();
    assert_eq!(error.refusal().code, Code::TrustFingerprint);
    assert_eq!(store.trust().unwrap().root, None);
}

#[tokio::test]
async fn rollback_a_lower_serial_is_refused_and_so_it_is_under_the_next_root() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 5, LATER);
    let clock = "2026-01-02T00:00:00Z";
    look(&server, &store, clock).await.unwrap();
    vendor.channel(&mut server, 4, LATER);
    let error = look(&server, &store, clock).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelRollback);
    // The channel key stays: what was seen of it counts on.
    let next = Vendor {
        root: KeyPair::generate_unencrypted_keypair().unwrap(),
        release: KeyPair::generate_unencrypted_keypair().unwrap(),
        channel: vendor.channel,
    };
    next.root(&mut server, 2, &vendor.root);
    let error = look(&server, &store, clock).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelRollback);
    assert_eq!((root_version(&store), kept_serial(&store)), (2, Some(5)));
}

#[tokio::test]
async fn fast_forward_ends_with_the_rotation_of_the_channel_key() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, u64::MAX, LATER);
    let clock = "2026-01-02T00:00:00Z";
    look(&server, &store, clock).await.unwrap();
    let next = Vendor::new();
    next.root(&mut server, 2, &vendor.root);
    next.channel(&mut server, 1, LATER);
    assert_eq!(look(&server, &store, clock).await.unwrap(), 1);
    assert_eq!((root_version(&store), kept_serial(&store)), (2, Some(1)));
}

#[tokio::test]
async fn a_root_that_the_one_before_did_not_sign_ends_the_walk_and_keeps_the_last_good_one() {
    let (vendor, thief, mut server) = (Vendor::new(), Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 1, LATER);
    let second = Vendor::new();
    second.root(&mut server, 2, &vendor.root);
    second.channel(&mut server, 1, LATER);
    thief.root(&mut server, 3, &thief.root);
    let error = look(&server, &store, "2026-01-02T00:00:00Z")
        .await
        .unwrap_err();
    assert_eq!(error.refusal().code, Code::SignatureInvalid, "{error}");
    assert_eq!(root_version(&store), 2);
}

#[tokio::test]
async fn freeze_a_server_that_stands_still_is_believed_until_the_expiry_and_no_longer() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 1, LATER);
    look(&server, &store, "2026-01-02T00:00:00Z").await.unwrap();
    server.stands_still = true;
    look(&server, &store, "2026-01-31T23:59:59Z").await.unwrap();
    for late in [LATER, "2026-02-01T00:00:01Z"] {
        let error = look(&server, &store, late).await.unwrap_err();
        assert_eq!(error.refusal().code, Code::TrustExpired, "{late}");
    }
    // And a clock that is set back before what was signed wins nothing.
    server.stands_still = false;
    vendor.channel(&mut server, 2, "2026-01-01T00:00:00.5Z");
    let error = look(&server, &store, "2020-01-01T00:00:00Z").await;
    assert_eq!(error.unwrap(), 2, "the signed time is before its expiry");
    let error = look(&server, &store, "2026-01-01T00:00:01Z")
        .await
        .unwrap_err();
    assert_eq!(error.refusal().code, Code::TrustExpired);
}

#[tokio::test]
async fn equivocation_one_serial_two_contents() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 7, LATER);
    let clock = "2026-01-02T00:00:00Z";
    look(&server, &store, clock).await.unwrap();
    vendor.channel(&mut server, 7, "2026-03-01T00:00:00Z");
    let error = look(&server, &store, clock).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelEquivocation);
}

#[tokio::test]
async fn an_appliance_that_trusts_nobody_asks_nobody() {
    let server = Server::default();
    let store = appliance(Digest::of(b""));
    store.set_trust(&Trust::default()).unwrap();
    let error = look(&server, &store, LATER).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::TrustMissing);
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_channel_that_is_forgotten_is_none_and_what_was_seen_of_it_stays() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 5, LATER);
    let clock = "2026-01-02T00:00:00Z";
    look(&server, &store, clock).await.unwrap();
    store.set_following(None).unwrap();
    assert_eq!(store.following().unwrap(), None);
    let error = look(&server, &store, clock).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelMissing);
    assert_eq!(kept_serial(&store), Some(5));
}

#[tokio::test]
async fn rollback_two_who_judge_at_once_take_no_serial_back() {
    /// A server in whose pauses somebody else believes more.
    struct Meanwhile<'a>(&'a Server, &'a Server, &'a Store, Mutex<bool>);
    impl Web for Meanwhile<'_> {
        async fn small(
            &self,
            name: &str,
            kind: Small,
            known: Option<&Tag>,
        ) -> Result<Answer, DownloadError> {
            let is_signature = name.starts_with("stable/") && name.ends_with(".minisig");
            let first = is_signature && !std::mem::replace(&mut *self.3.lock().unwrap(), true);
            if first {
                let clock = "2026-01-02T00:00:00Z";
                Box::pin(look(self.1, self.2, clock)).await.unwrap();
            }
            self.0.small(name, kind, known).await
        }
    }
    let (vendor, mut old, mut new) = (Vendor::new(), Server::default(), Server::default());
    let store = appliance(vendor.root(&mut old, 1, &vendor.root));
    vendor.root(&mut new, 1, &vendor.root);
    vendor.channel(&mut old, 4, LATER);
    vendor.channel(&mut new, 5, LATER);
    let both = Meanwhile(&old, &new, &store, Mutex::new(false));
    let clock = time("2026-01-02T00:00:00Z");
    let error = check(&both, &store, None, clock).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelRollback);
    assert_eq!(kept_serial(&store), Some(5));
}
