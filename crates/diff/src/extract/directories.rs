//! Directories of the tree, by descriptor.
//!
//! Most entries of a layer lie beside the one before, so the last directories used are kept open. A
//! path leads to the same directory until a directory or a link on the way is removed, which
//! [`Directories::forget`] is for; new names cannot change where old ones lead.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use stowd_core::Result;
use stowd_mount::lowers::{self, IMPLICIT, OPAQUE};
use stowd_sys::xattr;

use super::target::{Below, Deletes};
use super::{Extractor, failed, failed_io};
use crate::tar::Time;

/// The last directories used.
pub(super) struct Directories {
    root: OwnedFd,
    recent: VecDeque<(Vec<u8>, Rc<Directory>)>,
}

/// An open directory.
pub(super) struct Directory {
    fd: OwnedFd,
    pub(super) inode: u64,
    /// Whether what is made in it has the owner and the mode it is made with.
    pub(super) passes_on: PassesOn,
}

/// What a directory gives to what is made in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassesOn {
    Nothing,
    /// Its group, or access rights by a default list.
    Something,
}

/// How many directories are kept open.
const KEPT: usize = 32;

/// As many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// How often a look-up is tried again that other work on the machine disturbed.
const TRIES: usize = 1000;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Directories {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, recent: VecDeque::with_capacity(KEPT) }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns the directory that a path leads to; nothing when some part of it is missing.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>, Errno> {
        if let Some(at) = self.recent.iter().position(|(known, _)| known == path) {
            let directory = Rc::clone(&self.recent[at].1);
            if at > KEPT / 2 {
                // Else it would soon be the oldest, although it is used.
                self.recent.swap(at, 0);
            }
            return Ok(Some(directory));
        }
        match self.look_up(path) {
            Ok(fd) => self.keep(path, fd).map(Some),
            // A path may be longer than the kernel takes at once.
            Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_up(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let name = if path.is_empty() { b"." } else { path };
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.root, name, OPEN, Mode::empty(), resolve) {
                // A link on the way has `..` in it, and something somewhere on the machine was renamed or
                // mounted just then, so that the kernel cannot be sure that it stayed inside.
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Closes all: something was removed.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }

    fn keep(&mut self, path: &[u8], fd: OwnedFd) -> Result<Rc<Directory>, Errno> {
        let directory = Rc::new(Directory::new(fd)?);
        self.recent.truncate(KEPT - 1);
        self.recent.push_front((path.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }
}

impl Directory {
    fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        let gives = stat.st_mode & 0o2000 != 0
            || xattr::get_open(fd.as_fd(), c"system.posix_acl_default")
                .is_ok_and(|list| list.is_some());
        let passes_on = if gives { PassesOn::Something } else { PassesOn::Nothing };
        Ok(Self { fd, inode: stat.st_ino, passes_on })
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Extractor {
    /// Returns the directory that a path leads to, and makes what is missing of it.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<Directory>> {
        let shown = String::from_utf8_lossy(path);
        let found = self
            .directories
            .find(path)
            .map_err(|error| failed("open directory", format_args!("{shown:?}"), error))?;
        match found {
            Some(directory) => Ok(directory),
            None => {
                let made = self.make(path)?;
                self.directories
                    .keep(path, made)
                    .map_err(|error| failed("open directory", format_args!("{shown:?}"), error))
            }
        }
    }

    /// Goes down a path part by part, follows links as if the tree were the machine's root, and makes
    /// what is missing.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let act = "make directory";
        let shown = format!("{:?}", String::from_utf8_lossy(path));
        let fail = |error| failed(act, &shown, error);
        let top = |root: BorrowedFd<'_>| rustix::fs::openat(root, c".", OPEN, Mode::empty());
        let mut here = top(self.directories.root()).map_err(fail)?;
        let mut at: Vec<CString> = Vec::new();
        let mut todo = parts(path);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name.as_c_str() == c".." {
                // Nothing is above the top.
                if at.pop().is_some() {
                    here = rustix::fs::openat(&here, c"..", OPEN, Mode::empty()).map_err(fail)?;
                }
                continue;
            }
            match rustix::fs::openat(&here, &name, OPEN | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(below) => {
                    here = below;
                    at.push(name);
                }
                Err(Errno::NOENT) => {
                    here = self.make_one(here.as_fd(), &name).map_err(fail)?;
                    at.push(name);
                    self.imply(here.as_fd(), &at)?;
                }
                Err(error @ (Errno::LOOP | Errno::NOTDIR)) => {
                    let stat = rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(fail)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        links += 1;
                        if links > LINKS {
                            return Err(fail(Errno::LOOP));
                        }
                        let target =
                            rustix::fs::readlinkat(&here, &name, Vec::new()).map_err(fail)?;
                        if target.to_bytes().starts_with(b"/") {
                            here = top(self.directories.root()).map_err(fail)?;
                            at.clear();
                        }
                        todo.extend(parts(target.to_bytes()));
                    } else if lowers::is_whiteout(&stat)
                        && matches!(self.target.deletes, Deletes::Marks(_))
                    {
                        // Removed by this layer, and now made anew: nothing below shows through.
                        rustix::fs::unlinkat(&here, &name, AtFlags::empty()).map_err(fail)?;
                        here = self.make_one(here.as_fd(), &name).map_err(fail)?;
                        at.push(name);
                        hide_below(here.as_fd()).map_err(|error| failed_io(act, &shown, &error))?;
                    } else {
                        return Err(fail(error));
                    }
                }
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(here)
    }

    fn make_one(&self, parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        rustix::fs::openat(parent, name, OPEN | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Gives a directory that the layer did not describe what it has in the layers below.
    fn imply(&mut self, fd: BorrowedFd<'_>, at: &[CString]) -> Result<()> {
        let path = || at.iter().map(|name| name.as_bytes()).collect::<Vec<_>>().join(&b'/');
        let fail = |error: std::io::Error| {
            let shown = String::from_utf8_lossy(&path()).into_owned();
            failed_io("set attributes of directory", format_args!("{shown:?}"), &error)
        };
        match &self.target.deletes {
            Deletes::Real => Ok(()),
            Deletes::Marks(Below::Later) => xattr::set_open(fd, IMPLICIT, b"y").map_err(fail),
            Deletes::Marks(Below::Known(lowers, _)) => {
                let Some(found) = lowers.find(at).map_err(fail)?.filter(|found| found.is_dir())
                else {
                    return Ok(());
                };
                let from = found.open().map_err(fail)?;
                let stat = lowers::copy_directory(from.as_fd(), fd).map_err(fail)?;
                let time = Time {
                    seconds: stat.st_mtime,
                    nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                };
                self.later.add(&mut self.directories, path(), time, time)
            }
        }
    }
}

/// Makes a directory of an overlay hide what the layers below have in it.
pub(super) fn hide_below(directory: BorrowedFd<'_>) -> std::io::Result<()> {
    xattr::set_open(directory, OPAQUE, b"y")
}

/// Returns a path's parts, last first.
fn parts(path: &[u8]) -> Vec<CString> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .filter_map(|part| CString::new(part).ok())
        .rev()
        .collect()
}
