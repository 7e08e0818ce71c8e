//! A channel into the folder, in the order in which a reader needs the files.

use std::fs;

use berth_format::channel::{Channel, Expiry, FILE, Seen, signed_name};
use berth_format::signature::{MAX_FILES, Subject, file_name};
use berth_format::{Digest, root};

use super::{PublishError, at};
use crate::out::Out;
use crate::signed;
use crate::signer::Signer;

/// So many earlier serials keep their signatures, for readers who are slow.
const KEPT: u64 = 16;

/// Signs a channel and publishes it.
pub(super) fn write(out: &Out, signer: &Signer, channel: &Channel) -> Result<(), PublishError> {
    let name = &channel.channel;
    let bytes = channel.to_bytes();
    let subject = Subject::Channel {
        product: &channel.product,
        channel: name,
        serial: channel.serial,
    };
    let signatures = signer.sign(&bytes, &subject)?;
    // What leaves this machine is what an appliance would take.
    Seen::default()
        .judge(
            &signer.root,
            name,
            &bytes,
            &signatures,
            channel.published,
            Expiry::Enforced,
        )
        .map_err(|error| PublishError::Refused(Box::new(error.refusal())))?;
    put_roots(out, signer)?;
    out.make_dir(name.as_str())?;
    let good = format!("{name}/{}", signed_name(&Digest::of(&bytes)));
    signed::put(out, &good, &bytes, &signatures)?;
    out.put(&format!("{name}/{FILE}"), &bytes)?;
    tidy(out, channel)
}

/// Publishes every root of trust.
pub(super) fn put_roots(out: &Out, signer: &Signer) -> Result<(), PublishError> {
    for file in &signer.roots {
        let name = root::file_name(file.version);
        signed::put(out, &name, &file.bytes, &file.signatures)?;
    }
    Ok(())
}

// Takes away what only a very slow reader could still ask for.
fn tidy(out: &Out, channel: &Channel) -> Result<(), PublishError> {
    let dir = out.path(channel.channel.as_str());
    for entry in fs::read_dir(&dir).map_err(at(&dir))? {
        let path = entry.map_err(at(&dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(bytes) = fs::read(&path) else { continue };
        if name != signed_name(&Digest::of(&bytes)) {
            continue;
        }
        let old = Channel::parse(&bytes).ok();
        if old.is_some_and(|old| old.serial.saturating_add(KEPT) < channel.serial) {
            let folder = &channel.channel;
            out.remove(&format!("{folder}/{name}"))?;
            for n in 1..=MAX_FILES {
                out.remove(&format!("{folder}/{}", file_name(&name, n)))?;
            }
        }
    }
    Ok(())
}
