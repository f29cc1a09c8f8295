//! Whole file trees: removing and measuring them.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::descent::{self, Descent, Name};

/// What a tree takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files of all kinds, each counted once however many names it has; the root counts.
    pub inodes: u64,
    /// Bytes of the blocks they occupy.
    pub size: u64,
}

/// Removes whatever has that name in a directory, with all that is below it.
///
/// Follows no symbolic link and enters no mount: a mount point below is an error (`EBUSY` or
/// `EXDEV`), and what is mounted there is untouched. A name that is not there counts as removed.
pub fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Most directories that go are empty, or the kernel says quickly that they are not.
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    empty(descent::open_dir(parent, name)?)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes all that is in a directory and leaves it empty. As [`remove`] otherwise.
pub fn empty(dir: OwnedFd) -> io::Result<()> {
    let mut descent = Descent::new(dir);
    // For each level, the directories of the names read so far that are still to be emptied; the
    // first is being worked on below.
    let mut pending: Vec<Vec<Name>> = vec![Vec::new()];
    while let Some(level) = pending.last_mut() {
        if let Some(directory) = level.last() {
            match descent.enter(&directory.name) {
                Ok(()) => pending.push(Vec::new()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    level.pop();
                }
                Err(error) => return Err(error),
            }
            continue;
        }
        let mut names = Vec::new();
        let more = descent::read_some(descent.here(), &mut names)?;
        for entry in names {
            if entry.kind == FileType::Directory {
                level.push(entry);
                continue;
            }
            match rustix::fs::unlinkat(descent.here(), &entry.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The file system did not say that it is a directory.
                Err(Errno::ISDIR | Errno::PERM) if entry.kind == FileType::Unknown => {
                    level.push(entry);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if more || !level.is_empty() {
            continue;
        }
        pending.pop();
        if !descent.leave()? {
            break;
        }
        if let Some(done) = pending.last_mut().and_then(Vec::pop) {
            match rustix::fs::unlinkat(descent.here(), &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Measures a tree. Enters no mount.
pub fn usage(root: BorrowedFd<'_>) -> io::Result<Usage> {
    usage_with(root, &mut |_, _| Ok(()))
}

/// Measures a tree, and shows every directory with its depth, parents before their children.
pub fn usage_with(
    root: BorrowedFd<'_>,
    directory: &mut dyn FnMut(&Descent, &[&CStr]) -> io::Result<()>,
) -> io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut descent = Descent::new(rustix::fs::openat(root, c".", flags, Mode::empty())?);
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let stat = rustix::fs::fstat(descent.here())?;
    usage.inodes += 1;
    usage.size += bytes(stat.st_blocks);
    let mut pending: Vec<Vec<Name>> = vec![level(&descent, &mut usage, &mut linked)?];
    while let Some(top) = pending.last_mut() {
        let Some(next) = top.last() else {
            pending.pop();
            descent.leave()?;
            if let Some(above) = pending.last_mut() {
                above.pop();
            }
            continue;
        };
        match descent.enter(&next.name) {
            Ok(()) => {}
            // What is mounted there is no part of the tree; what went away meanwhile neither.
            Err(error)
                if matches!(Errno::from_io_error(&error), Some(Errno::XDEV | Errno::NOENT)) =>
            {
                top.pop();
                continue;
            }
            Err(error) => return Err(error),
        }
        let path: Vec<&CStr> =
            pending.iter().filter_map(|level| Some(level.last()?.name.as_c_str())).collect();
        directory(&descent, &path)?;
        pending.push(level(&descent, &mut usage, &mut linked)?);
    }
    Ok(usage)
}

/// Counts what is in the current directory and returns the directories among it.
fn level(
    descent: &Descent,
    usage: &mut Usage,
    linked: &mut HashSet<(u64, u64)>,
) -> io::Result<Vec<Name>> {
    let mut directories = Vec::new();
    for entry in descent::names(descent.here())? {
        let stat = match rustix::fs::statat(descent.here(), &entry.name, AtFlags::SYMLINK_NOFOLLOW)
        {
            Ok(stat) => stat,
            // Files of an active tree come and go.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir || stat.st_nlink == 1 || linked.insert((stat.st_dev, stat.st_ino)) {
            usage.inodes += 1;
            usage.size += bytes(stat.st_blocks);
        }
        if is_dir {
            directories.push(entry);
        }
    }
    Ok(directories)
}

fn bytes(blocks: i64) -> u64 {
    // stat(2) counts in units of 512 bytes whatever the file system's blocks are.
    u64::try_from(blocks).unwrap_or(0) * 512
}
