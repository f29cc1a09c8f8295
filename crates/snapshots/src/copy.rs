//! Copies a file tree with all that a file has: content with its holes, links, owner, mode, times,
//! extended attributes, devices.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use stowd_sys::descent::{self, Descent, Name};
use stowd_sys::{attributes, copy};

use crate::trees::DIRECTORY;

/// Copies what is in the directory `from`, and its attributes, to the empty directory `to`.
///
/// Follows no symbolic link and enters no mount: a mount point becomes an empty directory.
pub(crate) fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let reopen = |dir| rustix::fs::openat(dir, c".", DIRECTORY, Mode::empty());
    let mut walk = Walk {
        from: Descent::new(reopen(from)?),
        to: Descent::new(reopen(to)?),
        root: reopen(to)?,
        path: Vec::new(),
        linked: HashMap::new(),
    };
    let mut pending = vec![walk.level()?];
    while let Some(top) = pending.last_mut() {
        let Some(next) = top.pop() else {
            walk.finish()?;
            pending.pop();
            continue;
        };
        if walk.enter(&next.name)? {
            pending.push(walk.level()?);
        }
    }
    Ok(())
}

struct Walk {
    from: Descent,
    to: Descent,
    root: OwnedFd,
    /// The names from the root to the current directory.
    path: Vec<CString>,
    /// Where the first copy of a file with several names is, from the root.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl Walk {
    /// Copies all in the current directory but directories, and returns these.
    fn level(&mut self) -> io::Result<Vec<Name>> {
        let mut directories = Vec::new();
        for entry in descent::names(self.from.here())? {
            let name = entry.name.as_c_str();
            let stat = rustix::fs::statat(self.from.here(), name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                directories.push(entry);
                continue;
            }
            let id = (stat.st_dev, stat.st_ino);
            if stat.st_nlink > 1
                && let Some(first) = self.linked.get(&id)
                && self.link(first, name)?
            {
                continue;
            }
            self.copy(name, kind, &stat)?;
            if stat.st_nlink > 1 {
                self.linked.insert(id, self.path_of(name));
            }
        }
        Ok(directories)
    }

    /// Goes down into a directory on both sides; says false for a mount point.
    fn enter(&mut self, name: &CStr) -> io::Result<bool> {
        rustix::fs::mkdirat(self.to.here(), name, Mode::from_raw_mode(0o700))?;
        match self.from.enter(name) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.to.enter(name)?;
        self.path.push(name.to_owned());
        Ok(true)
    }

    /// Completes the current directory, now that nothing in it changes any more, and goes up.
    fn finish(&mut self) -> io::Result<()> {
        let stat = rustix::fs::fstat(self.from.here())?;
        attributes::copy_open(self.from.here(), self.to.here(), &stat)?;
        self.from.leave()?;
        self.to.leave()?;
        self.path.pop();
        Ok(())
    }

    fn copy(&self, name: &CStr, kind: FileType, stat: &Stat) -> io::Result<()> {
        let (from, to) = (self.from.here(), self.to.here());
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
                let len = u64::try_from(stat.st_size).unwrap_or(0);
                copy::content(source.as_fd(), target.as_fd(), len)?;
                return attributes::copy_open(source.as_fd(), target.as_fd(), stat);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target.as_c_str(), to, name)?;
            }
            kind => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?;
            }
        }
        attributes::copy_at((from, name), (to, name), stat)
    }

    /// Gives the copy of a file another name; says false where it must be copied again.
    fn link(&self, first: &[u8], name: &CStr) -> io::Result<bool> {
        match rustix::fs::linkat(&self.root, first, self.to.here(), name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // So deep that no path leads there, or so many names that the file system wants no more.
            Err(Errno::NAMETOOLONG | Errno::MLINK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = Vec::new();
        for parent in &self.path {
            path.extend_from_slice(parent.to_bytes());
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }
}
