//! The channel that goes into a bundle, and the daemon that it names.

use std::fs;
use std::io;
use std::path::Path;

use berth_format::channel::{Channel, Expiry, FILE, Seen, Standing, signed_name};
use berth_format::daemon::{self, Daemon};
use berth_format::release::blob_file_name;
use berth_format::{ChannelName, Digest};
use jiff::Timestamp;
use semver::Version;

use super::{List, MakeError, at};
use crate::signed;
use crate::signer::Signer;

/// A channel of the folder as it stands, judged as by an appliance.
pub(super) struct Carried {
    pub(super) channel: Channel,
    bytes: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

/// Reads a channel; one that has expired helps nobody.
pub(super) fn read(
    dir: &Path,
    name: &ChannelName,
    key: &Signer,
    now: Timestamp,
) -> Result<Carried, MakeError> {
    let folder = dir.join(name.as_str());
    let path = folder.join(FILE);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MakeError::NoChannel {
            channel: name.clone(),
            dir: dir.to_owned(),
        },
        _ => at(&path)(error),
    })?;
    let signatures = signed::read_signatures(&folder, &signed_name(&Digest::of(&bytes)))
        .map_err(|(path, error)| at(&path)(error))?;
    let (seen, root) = (Seen::default(), &key.root);
    let accepted = seen
        .judge(root, name, &bytes, &signatures, now, Expiry::Enforced)
        .map_err(berth_format::bundle::CarriedError::from)?;
    Ok(Carried {
        channel: accepted.channel,
        bytes,
        signatures,
    })
}

impl Carried {
    /// What it offers, oldest first.
    pub(super) fn offered(&self) -> Vec<Version> {
        let all = self.channel.releases.keys();
        all.filter(|version| self.channel.standing(version) == Standing::Listed)
            .cloned()
            .collect()
    }
}

impl List {
    /// Takes the channel and the file of its daemon; the programs are blobs, and come later.
    pub(super) fn channel(
        &mut self,
        dir: &Path,
        carried: &Carried,
        key: &Signer,
    ) -> Result<Option<Daemon>, MakeError> {
        self.signed(FILE, carried.bytes.clone(), carried.signatures.clone());
        let Some(berth) = &carried.channel.berth else {
            return Ok(None);
        };
        let name = daemon::file_name(&berth.version);
        let path = dir.join(&name);
        let bytes = fs::read(&path).map_err(at(&path))?;
        let signatures =
            signed::read_signatures(dir, &name).map_err(|(path, error)| at(&path)(error))?;
        let daemon = carried
            .channel
            .daemon(&key.root, &bytes, &signatures)
            .map_err(berth_format::bundle::CarriedError::from)?;
        self.signed(&name, bytes, signatures);
        Ok(Some(daemon))
    }

    /// The programs of a daemon, but those that a release ships too.
    pub(super) fn programs(&mut self, dir: &Path, daemon: &Daemon) -> Result<(), MakeError> {
        for blob in daemon.files.values() {
            let name = blob_file_name(&blob.digest);
            if self.members.iter().all(|member| member.name != name) {
                self.file(dir, name, blob.size, blob.digest)?;
            }
        }
        Ok(())
    }
}
