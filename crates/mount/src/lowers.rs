//! Looking into the lower directories of an overlay without mounting it.
//!
//! What overlayfs would show is found by its own rules: the topmost directory that has a name decides,
//! a character device 0:0 says that the name is gone, and a directory with the opaque attribute hides
//! what is below it. No symbolic link is followed: a name that is one hides all beyond it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use stowd_sys::xattr;

/// Marks a directory as hiding what is below it.
pub const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Marks a directory that a layer brought along only as the parent of something, while the layers
/// below were not known. Its owner, mode, attributes and times are those of the layers below, and are
/// filled in when these are bound.
pub const IMPLICIT: &CStr = c"trusted.stowd.implicit";

/// The lower directories of an overlay, topmost first.
#[derive(Debug, Default)]
pub struct Lowers(Vec<OwnedFd>);

/// Something found in a lower directory.
#[derive(Debug)]
pub struct Found {
    /// The directory that it is in.
    pub dir: OwnedFd,
    /// Its name there.
    pub name: CString,
    /// What it is.
    pub stat: Stat,
}

impl Lowers {
    /// Opens lower directories, given topmost first.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open<P: AsRef<Path>>(directories: &[P]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        directories
            .iter()
            .map(|path| Ok(rustix::fs::openat(CWD, path.as_ref(), flags, Mode::empty())?))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds what the directories together show under a path, given name by name.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn find<N: AsRef<CStr>>(&self, path: &[N]) -> io::Result<Option<Found>> {
        let Some((name, parents)) = path.split_last() else { return Ok(None) };
        for lower in &self.0 {
            match descend(lower.as_fd(), parents)? {
                Step::Into { dir, opaque } => match look(dir.as_fd(), name.as_ref())? {
                    Some(stat) if is_whiteout(&stat) => return Ok(None),
                    Some(stat) => {
                        return Ok(Some(Found { dir, name: name.as_ref().to_owned(), stat }));
                    }
                    None if opaque => return Ok(None),
                    None => {}
                },
                Step::Hidden => return Ok(None),
                Step::Absent => {}
            }
        }
        Ok(None)
    }
}

impl Found {
    /// Says whether it is a directory.
    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Opens it for reading; not for links, devices, pipes and sockets.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty())?)
    }
}

/// Gives a directory the owner, mode, attributes and times of another. Attributes that say how an
/// overlay shows a directory belong to where they are and stay there.
///
/// # Errors
/// When one of them cannot be read or set.
pub fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Stat> {
    use rustix::fs::{Gid, Uid};
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    for key in xattr::list_open(from)? {
        if key.to_bytes().starts_with(b"trusted.") {
            continue;
        }
        if let Some(value) = xattr::get_open(from, &key)? {
            xattr::set_open(to, &key, &value)?;
        }
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(to, &stowd_sys::attributes::times(&stat))?;
    Ok(stat)
}

/// Says whether a file stands for a name that is gone.
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

enum Step {
    /// The directory is there; `opaque` says whether it or one above it hides what is below.
    Into { dir: OwnedFd, opaque: bool },
    /// What is here hides the name in all directories below.
    Hidden,
    /// Nothing here; look below.
    Absent,
}

fn descend<N: AsRef<CStr>>(root: BorrowedFd<'_>, path: &[N]) -> io::Result<Step> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = rustix::fs::openat(root, c".", flags, Mode::empty())?;
    let mut opaque = false;
    for name in path {
        dir = match rustix::fs::openat(&dir, name.as_ref(), flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(if opaque { Step::Hidden } else { Step::Absent }),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Step::Hidden),
            Err(error) => return Err(error.into()),
        };
        opaque |= xattr::get_open(dir.as_fd(), OPAQUE)?.is_some_and(|value| value == b"y");
    }
    Ok(Step::Into { dir, opaque })
}

fn look(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
