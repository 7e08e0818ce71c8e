//! The atomic swap that a restore ends with.

use std::path::Path;

use rustix::fs::{RenameFlags, fsync, renameat_with};
use rustix::io::Errno;

use super::HostError;
use super::walk::parent;

/// See [`super::Host::exchange`].
pub fn exchange(a: &Path, b: &Path) -> Result<(), HostError> {
    const OP: &str = "exchange";
    let (a_dir, a_name) = parent(OP, a)?;
    let (b_dir, b_name) = parent(OP, b)?;
    match renameat_with(&a_dir, &a_name, &b_dir, &b_name, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::XDEV) => {
            return Err(HostError::AcrossMounts {
                op: OP,
                a: a.to_owned(),
                b: b.to_owned(),
            });
        }
        Err(Errno::NOENT) => {
            let gone = if super::disk::exists(a)? { b } else { a };
            return Err(HostError::system(OP, gone, Errno::NOENT));
        }
        Err(Errno::INVAL) => {
            return Err(HostError::Unexpected {
                op: OP,
                path: a.to_owned(),
                problem: format!(
                    "either this filesystem cannot exchange entries, or one of it and {} is inside \
                     the other",
                    b.display()
                ),
            });
        }
        Err(errno) => return Err(HostError::system(OP, a, errno)),
    }
    fsync(&a_dir).map_err(|errno| HostError::system(OP, a, errno))?;
    fsync(&b_dir).map_err(|errno| HostError::system(OP, b, errno))
}
