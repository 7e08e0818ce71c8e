//! The two Unix sockets: made with their owner and mode before anyone can see them, and never
//! taken away from a berthd that serves.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

/// The group whose members may use the API.
const GROUP: &str = "berth";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}: another berthd serves here")]
    InUse(PathBuf),
    #[error("{0}: there is a file that is not a socket")]
    NotASocket(PathBuf),
}

/// The API's socket and beside it the one that takes open files.
pub struct Sockets {
    api: UnixListener,
    handover: UnixListener,
    held: Held,
}

/// Holds the place of the sockets, and removes them at the end.
pub(super) struct Held {
    /// Locked while this berthd lives; the kernel lets it go with the process.
    _lock: File,
    paths: [PathBuf; 2],
}

impl Drop for Held {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

impl Sockets {
    /// Binds both: 0660, of root and the group `berth` where there is one and this is root.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir).map_err(io)?;
        }
        let lock = path.with_extension("lock");
        // Nobody else may open it: whoever can, could lock it and keep berthd from starting.
        let lock = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(lock)
            .map_err(io)?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(match error {
                rustix::io::Errno::WOULDBLOCK => SocketError::InUse(path.to_owned()),
                error => io(error.into()),
            });
        }
        let beside = handover_path(path);
        let group = group_id();
        Ok(Self {
            api: listen(path, group)?,
            handover: listen(&beside, group)?,
            held: Held {
                _lock: lock,
                paths: [path.to_owned(), beside],
            },
        })
    }

    pub(super) fn into_parts(self) -> (UnixListener, UnixListener, Held) {
        (self.api, self.handover, self.held)
    }
}

/// Where the socket for open files is, beside the API's.
pub fn handover_path(api: &Path) -> PathBuf {
    api.with_file_name("handover.sock")
}

/// Binds under a name of its own and renames: whoever finds the socket finds it finished.
fn listen(path: &Path, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let io = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(io)?;
    if rustix::process::geteuid().is_root() {
        chown(&fresh, Some(0), group.or(Some(0))).map_err(io)?;
    }
    fs::set_permissions(&fresh, Permissions::from_mode(0o660)).map_err(io)?;
    fs::rename(&fresh, path).map_err(io)?;
    Ok(listener)
}

/// The group's number, from the local file: the package makes it there.
fn group_id() -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(GROUP)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Sockets::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        assert!(matches!(Sockets::bind(&path), Err(SocketError::InUse(_))));
        assert!(tokio::net::UnixStream::connect(&path).await.is_ok());
        drop(first);
        assert!(!path.exists());
        assert!(Sockets::bind(&path).is_ok());
    }

    #[tokio::test]
    async fn a_file_in_the_sockets_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Sockets::bind(&path),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
