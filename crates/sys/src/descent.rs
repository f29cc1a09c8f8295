//! Going down a file tree by directory descriptors, however deep it is.
//!
//! A path that is looked up again at every step can be turned elsewhere by whoever writes in the
//! tree; a descriptor cannot. But a descriptor for every level of a deep tree is more than a process
//! may have, so only the lowest levels are held open: on the way up, the others are opened again as
//! `..`, and checked to be the directory they were.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags};

/// A way from a root directory down to the current one.
///
/// It follows no symbolic link and enters no mount.
#[derive(Debug)]
pub struct Descent {
    above: Vec<Level>,
    here: OwnedFd,
}

/// A name in a directory, and what kind of file it is where the file system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: CString,
    /// What it is; [`FileType::Unknown`] where that takes a look at the file itself.
    pub kind: FileType,
}

#[derive(Debug)]
enum Level {
    Open(OwnedFd),
    Closed { device: u64, inode: u64 },
}

/// Levels held open below the current one's ancestors.
const OPEN: usize = 32;

impl Descent {
    /// Starts at a directory, which must be open for reading.
    pub fn new(root: OwnedFd) -> Self {
        Self { above: Vec::new(), here: root }
    }

    /// Returns the current directory.
    pub fn here(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    /// Returns how many levels the current directory is below the root.
    pub fn depth(&self) -> usize {
        self.above.len()
    }

    /// Goes down into a directory; `EXDEV` says that it is a mount point.
    pub fn enter(&mut self, name: &CStr) -> io::Result<()> {
        let below = open_dir(self.here.as_fd(), name)?;
        if let Some(far) = self.above.len().checked_sub(OPEN)
            && let Some(Level::Open(dir)) = self.above.get(far)
        {
            let stat = rustix::fs::fstat(dir)?;
            self.above[far] = Level::Closed { device: stat.st_dev, inode: stat.st_ino };
        }
        self.above.push(Level::Open(std::mem::replace(&mut self.here, below)));
        Ok(())
    }

    /// Goes up one level; says false at the root.
    pub fn leave(&mut self) -> io::Result<bool> {
        let Some(level) = self.above.pop() else { return Ok(false) };
        self.here = match level {
            Level::Open(dir) => dir,
            Level::Closed { device, inode } => {
                let dir = rustix::fs::openat(&self.here, c"..", DIRECTORY, Mode::empty())?;
                let stat = rustix::fs::fstat(&dir)?;
                if (stat.st_dev, stat.st_ino) != (device, inode) {
                    return Err(io::Error::other("a directory was moved while it was worked on"));
                }
                dir
            }
        };
        Ok(true)
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory of a directory for reading, unless it is a symbolic link or a mount point.
pub fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(parent, name, DIRECTORY, Mode::empty(), resolve)?)
}

/// Reads all names in a directory but `.` and `..`, in no order.
pub fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    while read_some(dir, &mut names)? {}
    Ok(names)
}

/// Reads some names more, from where the descriptor's last reader stopped; says false at the end.
pub fn read_some(dir: BorrowedFd<'_>, names: &mut Vec<Name>) -> io::Result<bool> {
    let mut room: Vec<u8> = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, room.spare_capacity_mut());
    let mut any = false;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        any = true;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(Name { name: name.to_owned(), kind: entry.file_type() });
        }
        if entries.is_buffer_empty() {
            break;
        }
    }
    Ok(any)
}
