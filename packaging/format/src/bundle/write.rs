//! Writing a bundle.

use std::fs::File;
use std::io::{self, Cursor, Write};
use std::path::PathBuf;

use super::{BLOCK, INDEX, Index, copy_exactly, header, padding};

/// Where the bytes of a member come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// Memory.
    Bytes(Vec<u8>),
    /// A file, which must not change.
    File(PathBuf),
}

/// Writes the signed list and its members, whose contents are given in the same order.
///
/// `signed` are the bytes of `index` that `signature` is over.
pub fn write(
    out: &mut impl Write,
    index: &Index,
    signed: &[u8],
    signature: &[u8],
    contents: &[Content],
) -> io::Result<()> {
    if contents.len() != index.members.len() {
        return Err(io::Error::other("a content for each member of the list"));
    }
    member(
        out,
        INDEX,
        signed.len() as u64,
        &Content::Bytes(signed.to_vec()),
    )?;
    let name = format!("{INDEX}.minisig");
    member(
        out,
        &name,
        signature.len() as u64,
        &Content::Bytes(signature.to_vec()),
    )?;
    for (listed, content) in index.members.iter().zip(contents) {
        member(out, &listed.name, listed.size, content)?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

fn member(out: &mut impl Write, name: &str, size: u64, content: &Content) -> io::Result<()> {
    let header = header(name, size).ok_or_else(|| {
        io::Error::other(format!(
            "{name}: a member has a name of 1 to 100 bytes and less than 8 GiB"
        ))
    })?;
    out.write_all(&header)?;
    match content {
        Content::Bytes(bytes) if bytes.len() as u64 == size => {
            copy_exactly(&mut Cursor::new(bytes), out, size)?;
        }
        Content::Bytes(_) => {
            return Err(io::Error::other(format!("{name}: not of its listed size")));
        }
        Content::File(path) => copy_exactly(&mut File::open(path)?, out, size)?,
    }
    out.write_all(&[0; BLOCK][..padding(size)])
}
