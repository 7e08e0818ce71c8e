//! A file and its signatures, as they lie beside each other in a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_format::signature::{MAX_FILES, file_name};

use crate::out::{Out, OutError};

/// The signatures of a file, in the order of their numbers.
pub fn read_signatures(dir: &Path, name: &str) -> Result<Vec<Vec<u8>>, (PathBuf, io::Error)> {
    let mut all = Vec::new();
    for n in 1..=MAX_FILES {
        let path = dir.join(file_name(name, n));
        match fs::read(&path) {
            Ok(bytes) => all.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err((path, error)),
        }
    }
    Ok(all)
}

/// Publishes a file after its signatures, so that who finds the file finds them too.
pub fn put(out: &Out, name: &str, bytes: &[u8], signatures: &[Vec<u8>]) -> Result<(), OutError> {
    put_signatures(out, name, signatures)?;
    out.put(name, bytes)
}

/// Publishes the signatures of a file, and takes away what is left of more.
pub fn put_signatures(out: &Out, name: &str, signatures: &[Vec<u8>]) -> Result<(), OutError> {
    for (n, signature) in (1..).zip(signatures) {
        out.put(&file_name(name, n), signature)?;
    }
    for n in signatures.len() + 1..=MAX_FILES {
        out.remove(&file_name(name, n))?;
    }
    Ok(())
}
