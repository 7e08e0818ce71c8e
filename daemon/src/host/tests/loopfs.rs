//! Filesystems in a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Folder;

/// A filesystem of its own, mounted until this is dropped.
pub struct LoopFs {
    pub mount: PathBuf,
    image: PathBuf,
    _folder: Folder,
}

pub const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096"];
pub const XFS: &[&str] = &["mkfs.xfs", "-q", "-f", "-m", "reflink=1"];

impl LoopFs {
    pub fn new(mkfs: &[&str], mib: u64) -> Self {
        let folder = Folder::new();
        let (image, mount) = (folder.join("image"), folder.join("mount"));
        std::fs::create_dir(&mount).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(mib << 20)
            .unwrap();
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
        let made = Self {
            mount,
            image,
            _folder: folder,
        };
        made.attach();
        made
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    fn attach(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount));
    }

    /// Drops all that was not written out, as a power cut does, and starts again. XFS only.
    pub fn cut_power(&self) {
        run(Command::new("xfs_io")
            .args(["-x", "-c", "shutdown"])
            .arg(&self.mount));
        run(Command::new("umount").arg(&self.mount));
        self.attach();
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold files open. The loop device goes with the mount.
        run(Command::new("umount").arg("-l").arg(&self.mount));
    }
}

/// A second mount of a folder, until dropped.
pub struct Bind(PathBuf);

impl Bind {
    pub fn new(from: &Path, to: &Path) -> Self {
        run(Command::new("mount").arg("--bind").arg(from).arg(to));
        Self(to.to_owned())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0));
    }
}

pub fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}
