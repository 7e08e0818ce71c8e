//! What a channel names, and files that are not there, or not what they were.

use berth_format::Release;

use super::*;

const CLOCK: &str = "2026-01-02T00:00:00Z";

impl Vendor {
    /// Publishes a release, and gives its entry in a channel.
    fn release(&self, server: &mut Server, version: &str, title: &str) -> (Version, Entry) {
        let release: Release = serde_json::from_value(serde_json::json!({
            "format": 1, "product": "shop", "title": title, "version": version,
            "upgrade": {"from": "*"}, "requires": {"engine": "*"}, "data": "may-change",
            "services": {}, "images": {}, "layers": {},
        }))
        .unwrap();
        let bytes = release.to_bytes();
        let entry = Entry {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            published: time("2026-01-01T00:00:00Z"),
            stop: false,
            security: false,
            rollout: None,
            withdrawn: None,
            superseded_by: None,
        };
        let (product, name) = (product(), release.file_name());
        let subject = Subject::Release {
            product: &product,
            version: &release.version,
        };
        let signature = sign(&self.release, &bytes, &subject);
        server
            .files
            .insert(signature::file_name(&name, 1), signature);
        server.files.insert(name, bytes);
        (release.version, entry)
    }
}

fn offered(store: &Store) -> Vec<String> {
    let all = store.offered().unwrap().into_iter();
    all.map(|(release, _)| format!("{} {}", release.version, release.title))
        .collect()
}

#[tokio::test]
async fn what_is_believed_is_kept_byte_for_byte() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 3, LATER);
    let mut bytes = server.files["stable/channel.json"].clone();
    bytes.extend_from_slice(b"  \n");
    vendor.put(&mut server, 3, bytes.clone());
    assert_eq!(look(&server, &store, CLOCK).await.unwrap(), 3);
    let kept = store.following().unwrap().unwrap().channel.unwrap();
    assert_eq!(kept.as_bytes(), bytes);
    let root = store.trust().unwrap().root.unwrap();
    assert_eq!(root.as_bytes(), server.files["1.root.json"]);
}

#[tokio::test]
async fn a_first_root_that_is_spoiled_or_does_not_sign_itself_ends_the_check() {
    let (vendor, thief, mut server) = (Vendor::new(), Vendor::new(), Server::default());
    vendor.root(&mut server, 1, &vendor.root);
    vendor.channel(&mut server, 3, LATER);
    let good = server.files["1.root.json"].clone();
    let text = String::from_utf8(good.clone()).unwrap();
    let without_version = text.replace(r#""version":1,"#, "").into_bytes();
    let (product, version) = (product(), 1);
    for (bytes, signer, code) in [
        (without_version, &vendor.root, Code::ManifestInvalid),
        (good, &thief.root, Code::SignatureInvalid),
    ] {
        let store = appliance(Digest::of(&bytes));
        let subject = Subject::Root {
            product: &product,
            version,
        };
        for n in [1, 2] {
            let name = signature::file_name("1.root.json", n);
            server.files.insert(name, sign(signer, &bytes, &subject));
        }
        server.files.insert("1.root.json".into(), bytes);
        server.asked.lock().unwrap().clear();
        let error = look(&server, &store, CLOCK).await.unwrap_err();
        assert_eq!(error.refusal().code, code, "{error}");
        assert_eq!(
            (store.trust().unwrap().root, kept_serial(&store)),
            (None, None)
        );
        let asked = server.asked.lock().unwrap().clone();
        assert!(asked.iter().all(|name| name.starts_with("1.root.json")));
    }
}

#[tokio::test]
async fn a_file_that_is_missing_ends_the_check_and_what_came_before_it_is_kept() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    // No channel, and no signature of it.
    let missing = async |server: &Server, store: &Store| {
        let error = look(server, store, CLOCK).await.unwrap_err();
        assert_eq!(error.refusal().code, Code::DownloadMissing, "{error}");
    };
    missing(&server, &store).await;
    assert_eq!((root_version(&store), kept_serial(&store)), (1, None));
    vendor.channel(&mut server, 3, LATER);
    let is_signature = |name: &String| name.starts_with("stable/") && name.ends_with(".minisig");
    server.files.retain(|name, _| !is_signature(name));
    missing(&server, &store).await;
    assert_eq!(kept_serial(&store), None);
    // A release that is named and not there: the channel's serial counts all the same.
    let one = vendor.release(&mut server, "1.0.0", "one");
    let two = vendor.release(&mut server, "2.0.0", "two");
    server.files.remove("release-1.0.0.json");
    vendor.offer(&mut server, 4, LATER, [one, two].into());
    missing(&server, &store).await;
    assert_eq!(kept_serial(&store), Some(4));
    assert_eq!(offered(&store), ["2.0.0 two"]);
}

#[tokio::test]
async fn mix_and_match_another_release_than_the_named_one_is_refused_and_the_serial_kept() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    let named = vendor.release(&mut server, "1.0.0", "as it was released");
    vendor.offer(&mut server, 5, LATER, [named.clone()].into());
    // The same version, signed by the same key, and of another day.
    vendor.release(&mut server, "1.0.0", "as it was in the beta");
    let error = look(&server, &store, CLOCK).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::ChannelMismatch, "{error}");
    assert_eq!(kept_serial(&store), Some(5));
    assert!(offered(&store).is_empty());
    vendor.release(&mut server, "1.0.0", "as it was released");
    assert_eq!(look(&server, &store, CLOCK).await.unwrap(), 5);
    assert_eq!(offered(&store), ["1.0.0 as it was released"]);
}

#[tokio::test]
async fn stolen_release_key_what_it_signed_is_not_offered_after_its_rotation() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    let stolen = vendor.release(&mut server, "1.0.0", "the thief's");
    vendor.offer(&mut server, 1, LATER, [stolen].into());
    look(&server, &store, CLOCK).await.unwrap();
    assert_eq!(offered(&store), ["1.0.0 the thief's"]);
    // The vendor replaces the release key; the thief still serves his channel.
    let next = Vendor {
        root: KeyPair::generate_unencrypted_keypair().unwrap(),
        release: KeyPair::generate_unencrypted_keypair().unwrap(),
        channel: vendor.channel,
    };
    next.root(&mut server, 2, &vendor.root);
    let error = look(&server, &store, CLOCK).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::SignatureInvalid, "{error}");
    assert_eq!(root_version(&store), 2);
    assert!(
        offered(&store).is_empty(),
        "it is still there to be installed"
    );
}

/// A server that is so slow that another check is done while it gives the channel's signature.
struct Slow<'a> {
    own: &'a Server,
    other: &'a Server,
    store: &'a Store,
}

impl Web for Slow<'_> {
    async fn small(
        &self,
        name: &str,
        kind: Small,
        known: Option<&Tag>,
    ) -> Result<Answer, DownloadError> {
        if name.starts_with("stable/") && name.ends_with(".minisig") {
            assert_eq!(look(self.other, self.store, CLOCK).await.unwrap(), 7);
        }
        self.own.small(name, kind, known).await
    }
}

#[tokio::test]
async fn rollback_two_checks_at_once_do_not_take_the_serial_back() {
    let (vendor, mut server) = (Vendor::new(), Server::default());
    let store = appliance(vendor.root(&mut server, 1, &vendor.root));
    vendor.channel(&mut server, 5, LATER);
    look(&server, &store, CLOCK).await.unwrap();
    let (mut own, mut other) = (Server::default(), Server::default());
    own.files = server.files.clone();
    other.files = server.files.clone();
    vendor.channel(&mut own, 6, LATER);
    vendor.channel(&mut other, 7, LATER);
    let slow = Slow {
        own: &own,
        other: &other,
        store: &store,
    };
    let late = check(&slow, &store, None, time(CLOCK)).await.unwrap_err();
    assert_eq!(late.refusal().code, Code::ChannelRollback, "{late}");
    assert_eq!(kept_serial(&store), Some(7));
}
