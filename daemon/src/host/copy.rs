//! Copies of volumes.
//!
//! The copy is made as `<to>.partial`; when all of it is on disk it gets its name. What is not a
//! copy, such as a tree half way through, never stands under the name of one.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fsync, linkat, mkdirat, mknodat, openat,
    readlinkat, renameat, renameat_with, symlinkat, syncfs,
};
use rustix::io::Errno;

use super::data::{Data, Side};
use super::metadata::{apply, clear_inherited_acl};
use super::tree::{guard, present, remove_now, size};
use super::walk::{
    Cursor, DIRECTORY, Id, Meta, by_handle, handle, open_quietly, parent, parent_path, sibling,
};
use super::{CopyStats, HostError, disk};

const OP: &str = "copy";

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
const WRITE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// See [`super::Host::copy_tree`].
pub fn copy_tree(from: &Path, to: &Path) -> Result<CopyStats, HostError> {
    let (source, source_name) = parent(OP, from)?;
    let (target, target_name) = parent(OP, to)?;
    let partial_path = sibling(to, ".partial");
    let (_, partial) = parent(OP, &partial_path)?;
    let already_there = || HostError::AlreadyThere {
        op: "copy to",
        path: to.to_owned(),
    };
    match Meta::named(&target, &target_name) {
        Ok(_) => return Err(already_there()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(HostError::system(OP, to, errno)),
    }
    remove_now(&target, &partial, &partial_path)?;

    let whole = duplicate(&target, to)
        .and_then(|dir| Copier::new(source, from, dir, to))
        .and_then(|mut copier| copier.run(&source_name, &partial))
        .and_then(|stats| {
            // Errors of writing back show here, and only to a handle that was open before.
            syncfs(&target).map_err(|errno| HostError::system("write out", to, errno))?;
            Ok(stats)
        });
    let stats = match whole {
        Ok(stats) => stats,
        Err(error) => {
            // The error tells more than a second one about the cleaning up; the next try cleans too.
            let _ = remove_now(&target, &partial, &partial_path);
            return Err(with_sizes(error, from, to));
        }
    };
    let renamed = match renameat_with(
        &target,
        &partial,
        &target,
        &target_name,
        RenameFlags::NOREPLACE,
    ) {
        // Not every filesystem knows the flag.
        Err(Errno::INVAL) => renameat(&target, &partial, &target, &target_name),
        other => other,
    };
    match renamed {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(already_there()),
        Err(errno) => return Err(HostError::system("finish the copy", to, errno)),
    }
    fsync(&target).map_err(|errno| HostError::system("finish the copy", to, errno))?;
    Ok(stats)
}

fn duplicate(dir: &OwnedFd, path: &Path) -> Result<OwnedFd, HostError> {
    dir.try_clone()
        .map_err(|error| HostError::io(OP, path, &error))
}

/// A full disk is told with how much the whole copy wants and what is free without it.
fn with_sizes(error: HostError, from: &Path, to: &Path) -> HostError {
    let HostError::NoSpace { .. } = error else {
        return error;
    };
    let room = disk::disk(to).unwrap_or_default();
    HostError::NoSpace {
        op: "copy to",
        path: to.to_owned(),
        wanted: size(from).ok(),
        free: room.free,
        free_inodes: room.free_inodes,
    }
}

/// The first copy of a file that has more than one name.
struct Linked {
    /// Names from the folder of the copy downwards.
    trail: Vec<CString>,
    /// How many of its names have not been seen.
    missing: u32,
}

struct Copier {
    source: Cursor,
    target: Cursor,
    /// The folder of the copy, and the names from there to where `target` stands.
    target_top: OwnedFd,
    trail: Vec<CString>,
    links: HashMap<Id, Linked>,
    data: Data,
    stats: CopyStats,
}

/// A directory that is being copied.
struct Level {
    meta: Meta,
    name: CString,
    subdirs: Vec<CString>,
}

/// What the whole tree is held against.
struct Top {
    source: Meta,
    /// Once it is made.
    target: Option<Id>,
}

impl Copier {
    fn new(source: OwnedFd, from: &Path, target: OwnedFd, to: &Path) -> Result<Self, HostError> {
        Ok(Self {
            source: Cursor::new(source, parent_path(from))?,
            target_top: duplicate(&target, to)?,
            target: Cursor::new(target, parent_path(to))?,
            trail: Vec::new(),
            links: HashMap::new(),
            data: Data::default(),
            stats: CopyStats::default(),
        })
    }

    fn run(&mut self, name: &CStr, as_name: &CStr) -> Result<CopyStats, HostError> {
        let source = Meta::named(self.source.dir(), name).map_err(self.source.fail(OP, name))?;
        if source.kind == FileType::Symlink {
            return Err(self.unexpected(name, "it is a symbolic link: copy what it points to"));
        }
        let mut top = Top {
            source,
            target: None,
        };
        let mut levels = Vec::new();
        if let Some((handle, meta)) = self.entry(&top, name, as_name)? {
            levels.push(self.enter(&mut top, name, as_name, &handle, meta)?);
        }
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.subdirs.pop() {
                if let Some((handle, meta)) = self.entry(&top, &name, &name)? {
                    levels.push(self.enter(&mut top, &name, &name, &handle, meta)?);
                }
            } else if let Some(level) = levels.pop() {
                self.leave(&level)?;
            }
        }
        Ok(self.stats)
    }

    /// Copies one entry, unless it is a directory: that is returned, not entered.
    fn entry(
        &mut self,
        top: &Top,
        name: &CStr,
        as_name: &CStr,
    ) -> Result<Option<(OwnedFd, Meta)>, HostError> {
        let found = handle(self.source.dir(), name);
        let Some(source) = present(found, &self.source, "open", name)? else {
            return Ok(None);
        };
        let meta = Meta::of(&source).map_err(self.source.fail("look at", name))?;
        guard(&top.source, &meta, OP, &self.source, name)?;
        match meta.kind {
            FileType::Directory => return Ok(Some((source, meta))),
            FileType::Socket => self.stats.sockets_skipped += 1,
            _ if meta.links > 1 && self.link(&meta, as_name)? => self.stats.links += 1,
            _ => {
                self.plain(name, as_name, &source, &meta)?;
                self.stats.entries += 1;
            }
        }
        Ok(None)
    }

    /// Makes and enters a directory and copies all of it but its subdirectories.
    fn enter(
        &mut self,
        top: &mut Top,
        name: &CStr,
        as_name: &CStr,
        source: &OwnedFd,
        meta: Meta,
    ) -> Result<Level, HostError> {
        const MAKE: &str = "make the directory";
        if top.target == Some(meta.id) {
            return Err(self.unexpected(name, "the copy would contain itself"));
        }
        // Nobody else until it is whole; its own mode comes last.
        mkdirat(self.target.dir(), as_name, Mode::RWXU).map_err(self.target.fail(MAKE, as_name))?;
        let target = handle(self.target.dir(), as_name).map_err(self.target.fail(MAKE, as_name))?;
        let made = Meta::of(&target).map_err(self.target.fail(MAKE, as_name))?;
        if top.target.is_none() {
            top.target = Some(made.id);
            // Below it there is none to inherit: a directory gets its own after its contents.
            clear_inherited_acl(&target, Mode::RWXU, &self.target.path_of(as_name))?;
        }
        self.source.enter(name, source, meta.id)?;
        self.target.enter(as_name, &target, made.id)?;
        self.trail.push(as_name.to_owned());
        let mut subdirs = Vec::new();
        for entry in self.source.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory || self.entry(top, name, name)?.is_some() {
                subdirs.push(name.to_owned());
            }
        }
        Ok(Level {
            meta,
            name: as_name.to_owned(),
            subdirs,
        })
    }

    fn leave(&mut self, level: &Level) -> Result<(), HostError> {
        let source = self.source.leave()?;
        let target = self.target.leave()?;
        self.trail.pop();
        self.stats.entries += 1;
        apply(
            &source,
            &level.meta,
            &target,
            &self.target.path_of(&level.name),
        )
    }

    /// Makes another name of a file that was copied already; false if it was not.
    fn link(&mut self, meta: &Meta, as_name: &CStr) -> Result<bool, HostError> {
        let Some(first) = self.links.get_mut(&meta.id) else {
            return Ok(false);
        };
        let linked = first.open(&self.target_top).and_then(|(dir, name)| {
            linkat(&dir, name, self.target.dir(), as_name, AtFlags::empty())
        });
        match linked {
            Ok(()) => {}
            // This filesystem allows fewer names than that of the source: begin another file.
            Err(Errno::MLINK) => {
                self.links.remove(&meta.id);
                return Ok(false);
            }
            Err(errno) => return Err(self.target.fail("link", as_name)(errno)),
        }
        first.missing = first.missing.saturating_sub(1);
        if first.missing == 0 {
            self.links.remove(&meta.id);
        }
        Ok(true)
    }

    fn plain(
        &mut self,
        name: &CStr,
        as_name: &CStr,
        source: &OwnedFd,
        meta: &Meta,
    ) -> Result<(), HostError> {
        let dir = self.target.dir();
        // Only a file is opened for reading, and then asked by that.
        let opened;
        let mut source = source;
        let target = match meta.kind {
            FileType::RegularFile => {
                opened = open_quietly(CWD, &*by_handle(source), READ)
                    .map_err(self.source.fail("open", name))?;
                let to = openat(dir, as_name, WRITE, Mode::RUSR | Mode::WUSR)
                    .map_err(self.target.fail("make", as_name))?;
                let failed = |op, errno| match op {
                    Side::Read => self.source.fail("read", name)(errno),
                    Side::Write => self.target.fail("write", as_name)(errno),
                };
                self.data
                    .copy(&opened, &to, meta, &mut self.stats)
                    .map_err(|(side, errno)| failed(side, errno))?;
                source = &opened;
                to
            }
            FileType::Symlink => {
                let to = readlinkat(source, c"", Vec::new())
                    .map_err(self.source.fail("read the link", name))?;
                symlinkat(&to, dir, as_name)
                    .and_then(|()| handle(dir, as_name))
                    .map_err(self.target.fail("make the link", as_name))?
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => mknodat(
                dir,
                as_name,
                meta.kind,
                Mode::RUSR | Mode::WUSR,
                meta.device,
            )
            .and_then(|()| handle(dir, as_name))
            .map_err(self.target.fail("make the device or FIFO", as_name))?,
            _ => return Err(self.unexpected(name, "it is of a kind that Berth does not know")),
        };
        let path = self.target.path_of(as_name);
        if self.trail.is_empty() {
            clear_inherited_acl(&target, Mode::RUSR | Mode::WUSR, &path)?;
        }
        apply(source, meta, &target, &path)?;
        if meta.links > 1 {
            let mut trail = self.trail.clone();
            trail.push(as_name.to_owned());
            self.links.insert(
                meta.id,
                Linked {
                    trail,
                    missing: meta.links - 1,
                },
            );
        }
        Ok(())
    }

    fn unexpected(&self, name: &CStr, problem: &str) -> HostError {
        HostError::Unexpected {
            op: OP,
            path: self.source.path_of(name),
            problem: problem.to_owned(),
        }
    }
}

impl Linked {
    /// The directory of the first copy and its name in there; step by step, because the whole
    /// path may be longer than the kernel takes.
    fn open(&self, top: &OwnedFd) -> Result<(OwnedFd, &CStr), Errno> {
        let (name, folders) = self.trail.split_last().ok_or(Errno::NOENT)?;
        let mut dir = openat(top, c".", DIRECTORY, Mode::empty())?;
        for folder in folders {
            dir = openat(&dir, folder, DIRECTORY, Mode::empty())?;
        }
        Ok((dir, name))
    }
}
