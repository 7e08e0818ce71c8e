//! `berth-publish verify`, and whom a bundle is believed for.

use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};

use berth_format::bundle::{Head, Opened, RootFile, open, read_head};
use berth_format::channel::{Channel, Expiry, Seen};
use berth_format::root::{End, Root};
use berth_format::{Code, Digest, Refusal, bundle};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{Failure, io, print_json};
use crate::progress::Progress;

/// Check a bundle whole, as an appliance does
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The .berth file
    file: PathBuf,
    /// The root of trust to believe
    #[arg(
        long,
        value_name = "1.root.json",
        required_unless_present = "fingerprint"
    )]
    root: Option<PathBuf>,
    /// The fingerprint of the first root of trust to believe; the bundle brings the root
    #[arg(long, value_name = "DIGEST", conflicts_with = "root", value_parser = fingerprint)]
    fingerprint: Option<Digest>,
    /// Also if the channel in the bundle is past its expiry
    #[arg(long)]
    accept_expired_channel: bool,
    /// The result as JSON on standard output
    #[arg(long)]
    json: bool,
}

/// What was found good.
struct Good {
    releases: Vec<String>,
    channel: Option<Channel>,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let result = self.check();
        if !self.json {
            return result.map(|good| {
                println!("good: {}", good.releases.join(", "));
                if let Some(channel) = &good.channel {
                    println!("{}", said(channel));
                }
            });
        }
        match result {
            Ok(good) => {
                print_json(&json!({
                    "ok": true, "releases": good.releases,
                    "channel": good.channel.as_ref().map(summary),
                }));
                Ok(())
            }
            Err(Failure::Refused(refusal)) => {
                print_json(&json!({"ok": false, "refusal": refusal}));
                Err(Failure::Said(refusal.code))
            }
            Err(other) => Err(other),
        }
    }

    fn check(&self) -> Result<Good, Failure> {
        let mut file = open_file(&self.file)?;
        let head = read_head(&mut file).map_err(Refusal::from)?;
        let root = match (&self.root, self.fingerprint) {
            (Some(path), _) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| io(format!("{}: {error}", path.display())))?;
                Root::parse(&bytes).map_err(|error| error.refusal())?
            }
            (None, Some(fingerprint)) => first(&head, fingerprint)?,
            (None, None) => return Err(super::refuse(Code::TrustMissing, "no root of trust")),
        };
        let root = newest(root, head.roots())?;
        let now = Timestamp::now();
        root.must_be_fresh(now).map_err(|error| error.refusal())?;
        let expiry = if self.accept_expired_channel {
            Expiry::Waived
        } else {
            Expiry::Enforced
        };
        let opened = open(&mut file, &head, &root).map_err(Refusal::from)?;
        let accepted = opened
            .believe_channel(&root, &Seen::default(), None, now, expiry)
            .map_err(Refusal::from)?;
        let mut task = Progress::new().task("checking", 0);
        let releases = bundle::verify_whole(&mut file, &root, |done, total| task.at(done, total))
            .map_err(Refusal::from)?;
        task.end("good");
        let releases = releases.iter();
        Ok(Good {
            releases: releases
                .map(|r| format!("{} {}", r.product, r.version))
                .collect(),
            channel: accepted.map(|accepted| accepted.channel),
        })
    }
}

/// A channel in a line or two.
pub(super) fn said(channel: &Channel) -> String {
    let berth = channel.berth.as_ref();
    let berth = berth.map_or_else(String::new, |b| format!("\ncarries Berth {}", b.version));
    format!(
        "channel {}: serial {}, published {}, good until {}{berth}",
        channel.channel, channel.serial, channel.published, channel.expires
    )
}

/// A channel for programs.
pub(super) fn summary(channel: &Channel) -> serde_json::Value {
    json!({
        "name": channel.channel, "serial": channel.serial, "published": channel.published,
        "expires": channel.expires, "berth": channel.berth.as_ref().map(|berth| &berth.version),
    })
}

/// A bundle that is opened under its own root, which vouches for nothing.
pub(super) struct Unverified {
    pub opened: Opened,
    pub channel: Option<Channel>,
    /// Of the first root.
    pub fingerprint: Digest,
}

pub(super) fn open_unverified(path: &Path) -> Result<Unverified, Failure> {
    let mut file = open_file(path)?;
    let head = read_head(&mut file).map_err(Refusal::from)?;
    let Some(root) = head.roots().first() else {
        return Err(super::refuse(
            Code::TrustMissing,
            "the bundle brings no root of trust",
        ));
    };
    let fingerprint = Digest::of(&root.bytes);
    let root = newest(first(&head, fingerprint)?, head.roots())?;
    let opened = open(&mut file, &head, &root).map_err(Refusal::from)?;
    // What it says is shown, however old it is.
    let (seen, clock) = (Seen::default(), Timestamp::MIN);
    let accepted = opened
        .believe_channel(&root, &seen, None, clock, Expiry::Waived)
        .map_err(Refusal::from)?;
    Ok(Unverified {
        opened,
        channel: accepted.map(|accepted| accepted.channel),
        fingerprint,
    })
}

fn open_file(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| io(format!("{}: {error}", path.display())))
}

// The first root of a bundle, if it has the fingerprint.
fn first(head: &Head, fingerprint: Digest) -> Result<Root, Failure> {
    let root = head.roots().iter().find(|root| root.version == 1);
    let found = root.map(|root| Digest::of(&root.bytes));
    match root {
        Some(root) if found == Some(fingerprint) => {
            Ok(Root::first(&root.bytes, &root.signatures).map_err(|error| error.refusal())?)
        }
        _ => {
            let found = found.map_or_else(|| "no root of trust".into(), |f| f.to_string());
            let code = Code::TrustFingerprint;
            Err(Refusal::new(code, code.means())
                .because(fingerprint.to_string(), found)
                .into())
        }
    }
}

// Follows rotations that the bundle brings.
fn newest(root: Root, files: &[RootFile]) -> Result<Root, Failure> {
    match root.follow(files, |_, _| Ok::<_, Infallible>(())) {
        (root, End::Newest) => Ok(root),
        (_, End::Refused(error)) => Err(error.refusal().into()),
    }
}

// As it is printed, or as it is read aloud.
fn fingerprint(text: &str) -> Result<Digest, String> {
    let text: String = text.split_whitespace().collect();
    let hex = text.strip_prefix("sha256:").unwrap_or(&text);
    Digest::from_hex(hex).map_err(|error| error.to_string())
}
