//! What a channel says, and to whom.

mod signer;

use berth_format::Digest;
use berth_format::channel::{Channel, Standing};
use berth_format::rollout::{Asked, Rollout, bucket};
use proptest::prelude::*;

use signer::{channel, now, product};

#[test]
fn a_channel_can_be_written_in_one_way_only() {
    let good = String::from_utf8(channel(7, 5, &["1.0.0", "1.1.0"]).to_bytes()).unwrap();
    assert!(Channel::parse(good.as_bytes()).is_ok());
    let digest = Digest::of(b"1.0.0").to_string();
    let entry = |text: &str| good.replacen(r#""size":1000"#, text, 1);
    for (bad, why) in [
        (
            good.replace(r#""serial":7"#, r#""serial":7,"serial":8"#),
            "duplicate field",
        ),
        (
            good.replace(r#""serial":7"#, r#""serial":7,"more":8"#),
            "more",
        ),
        (good.replace(r#""serial":7"#, r#""serial":0"#), "serial 0"),
        (good.replace(r#""serial":7"#, r#""serial":7.0"#), "7.0"),
        (good.replace("\"1.1.0\":", "\"1.0.0\":"), "twice"),
        (good.replace("\"1.1.0\":", "\"0.9.0\":"), "order"),
        (good.replace("\"1.1.0\":", "\"1.1\":"), "minor"),
        (good.replace("\"1.1.0\":", "\"../1.1.0\":"), ""),
        (good.replace("\"1.1.0\":", "\"1.1.0+a/..\":"), ""),
        (good.replace("\"stable\"", "\"../stable\""), "a-z"),
        (good.replace("\"stable\"", "\"layers\""), "a-z"),
        (entry(r#""size":0"#), "0 bytes"),
        (entry(r#""size":10485761"#), "bytes"),
        (entry(r#""more":1,"size":1"#), "more"),
        (entry(r#""security":null,"size":1"#), "null"),
        (
            good.replace(&format!(r#""digest":"{digest}","#), ""),
            "digest",
        ),
        (
            good.replace(&digest, &digest.replace("sha256", "sha512")),
            "sha256",
        ),
        (
            good.replacen("2026-03-05T12:00:00Z", "2026-04-05T12:00:00Z", 1),
            "expires before",
        ),
        (entry(r#""size":1,"superseded_by":"1.2.0""#), "not listed"),
        (entry(r#""size":1,"superseded_by":"1.0.0""#), "not newer"),
        (
            entry(r#""size":1,"stop":true,"superseded_by":"1.1.0""#),
            "a stop",
        ),
        (entry(r#""size":1,"withdrawn":" ""#), "reason"),
        (entry(r#""size":1,"withdrawn":"a\nb""#), "reason"),
        (
            entry(r#""size":1,"rollout":{"begins":"2026-03-05T12:00:00Z","shares":[]}"#),
            "rollout",
        ),
        (format!("{good}{{}}"), "trailing"),
        (good.replace(r#""format":1"#, r#""format":2"#), "format 2"),
    ] {
        let error = Channel::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}\n{bad}");
        assert_ne!(bad, good, "{why}");
    }
}

#[test]
fn a_withdrawn_release_is_told_of_and_never_offered() {
    let mut channel = channel(7, 5, &["1.0.0", "1.1.0", "1.2.0", "1.3.0"]);
    let version = |text: &str| text.parse().unwrap();
    let entry = |channel: &mut Channel, text: &str, reason: Option<&str>, by: Option<&str>| {
        let entry = channel.releases.get_mut(&version(text)).unwrap();
        entry.withdrawn = reason.map(Into::into);
        entry.superseded_by = by.map(version);
    };
    entry(&mut channel, "1.3.0", Some("It loses mail."), None);
    entry(&mut channel, "1.1.0", None, Some("1.2.0"));
    entry(&mut channel, "1.0.0", Some("A hole."), Some("1.1.0"));
    assert_eq!(channel.problem(), None);
    let three = version("1.3.0");
    assert_eq!(
        channel.standing(&three),
        Standing::Withdrawn {
            reason: Some("It loses mail."),
            instead: None
        }
    );
    let (oldest, two) = (version("1.0.0"), version("1.2.0"));
    assert_eq!(
        channel.standing(&oldest),
        Standing::Withdrawn {
            reason: Some("A hole."),
            instead: Some(&two)
        }
    );
    assert_eq!(channel.standing(&two), Standing::Listed);
    // A release that vanishes from the channel is reported.
    assert_eq!(channel.standing(&version("1.4.0")), Standing::Unlisted);
    for asked in [Asked::ByItself, Asked::ByHand] {
        assert_eq!(channel.offer(None, "id", now(), asked), Some(&two));
        assert_eq!(channel.offer(Some(&two), "id", now(), asked), None);
    }
    // A successor that is withdrawn in its turn is none.
    entry(&mut channel, "1.2.0", Some("As well."), None);
    assert_eq!(channel.successor(&oldest), None);
}

#[test]
fn a_rollout_holds_back_neither_security_nor_people() {
    let mut channel = channel(7, 5, &["1.0.0", "1.1.0"]);
    let version = "1.1.0".parse().unwrap();
    let begins = channel.published;
    let entry = channel.releases.get_mut(&version).unwrap();
    entry.rollout = Some(Rollout::over(begins, 1000));
    let name = product();
    let early = (0..1000)
        .map(|n: u32| n.to_string())
        .find(|id| bucket(&name, &version, id) < u64::MAX / 10)
        .unwrap();
    let late = (0..1000)
        .map(|n: u32| n.to_string())
        .find(|id| bucket(&name, &version, id) > u64::MAX / 10 * 9)
        .unwrap();
    let offer = |channel: &Channel, id: &str, hours: i64, asked| {
        let now = begins + jiff::SignedDuration::from_hours(hours);
        channel.offer(None, id, now, asked) == Some(&version)
    };
    // While one is half way out, the release before it is what the others are offered.
    assert!(!offer(&channel, &early, 0, Asked::ByItself));
    assert!(offer(&channel, &early, 101, Asked::ByItself));
    assert!(!offer(&channel, &late, 899, Asked::ByItself));
    assert!(offer(&channel, &late, 1000, Asked::ByItself));
    assert!(offer(&channel, &late, 0, Asked::ByHand));
    channel.releases.get_mut(&version).unwrap().security = true;
    assert!(offer(&channel, &late, 0, Asked::ByItself));
}

proptest! {
    /// A parser of bytes from outside ends, and what it takes it writes again.
    #[test]
    fn any_bytes_are_read_or_refused(
        at in 0_usize..400, to: Vec<u8>, cut in 0_usize..40
    ) {
        let mut bytes = channel(7, 5, &["1.0.0"]).to_bytes();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, to);
        if let Ok(channel) = Channel::parse(&bytes) {
            prop_assert_eq!(Channel::parse(&channel.to_bytes()).unwrap(), channel);
        }
    }
}
