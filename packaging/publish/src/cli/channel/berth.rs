//! `berth-publish channel berth`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_format::ChannelName;
use berth_format::channel;
use berth_format::image::{Blob, ParsePlatformError, Platform};
use clap::Args;
use semver::Version;

use super::{Common, Failure, say};

/// Offer a newer berthd to the appliances of a channel
#[derive(Debug, Args)]
pub(super) struct Berth {
    #[command(flatten)]
    common: Common,
    /// The channel
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    channel: ChannelName,
    /// The version of berthd
    #[arg(long = "berth-version", value_name = "VERSION")]
    version: Version,
    /// The program for a platform, as in linux/amd64=target/release/berthd; may be repeated
    #[arg(long = "file", value_name = "PLATFORM=PATH", required = true, value_parser = file)]
    files: Vec<(Platform, PathBuf)>,
}

impl Berth {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        let mut files = BTreeMap::new();
        for (platform, path) in &self.files {
            let bytes = std::fs::read(path)
                .map_err(|error| crate::cli::io(format!("{}: {error}", path.display())))?;
            let blob = Blob {
                digest: publisher.put_file(&bytes)?,
                size: bytes.len() as u64,
            };
            files.insert(platform.clone(), blob);
        }
        let berth = channel::Berth {
            version: self.version,
            files,
        };
        say(&publisher.berth(&self.channel, &berth)?);
        Ok(())
    }
}

fn file(text: &str) -> Result<(Platform, PathBuf), String> {
    let (platform, path) = text.split_once('=').ok_or("expected PLATFORM=PATH")?;
    let platform = platform
        .parse()
        .map_err(|error: ParsePlatformError| error.to_string())?;
    Ok((platform, path.into()))
}
