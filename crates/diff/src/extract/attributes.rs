//! Owners, modes, extended attributes and times.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use stowd_core::Result;
use stowd_sys::xattr;

use super::directories::{Directories, Directory, PassesOn};
use super::name::Name;
use super::{Extractor, failed, failed_io};
use crate::tar::{Entry, Kind, Time};

/// Times of directories, which are set when nothing is put into them any more.
#[derive(Default)]
pub(super) struct Later {
    times: Vec<(Vec<u8>, Timestamps)>,
    bytes: usize,
}

/// The most that is kept for later. A layer with more directories than this has the times of some set
/// early, and changed again if it comes back to them.
const MOST: usize = 32 << 20;

impl Later {
    pub(super) fn add(
        &mut self,
        directories: &mut Directories,
        path: Vec<u8>,
        accessed: Time,
        modified: Time,
    ) -> Result<()> {
        self.bytes += path.len() + size_of::<(Vec<u8>, Timestamps)>();
        self.times.push((path, stamps(accessed, modified)));
        if self.bytes > MOST { std::mem::take(self).apply(directories) } else { Ok(()) }
    }

    /// Sets them, in the order in which they were told.
    pub(super) fn apply(self, directories: &mut Directories) -> Result<()> {
        for (path, times) in self.times {
            let (parent, base) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&[][..], &path[..]),
            };
            let fail = |error| {
                let shown = String::from_utf8_lossy(&path);
                failed("set times of directory", format_args!("{shown:?}"), error)
            };
            let Some(parent) = directories.find(parent).map_err(fail)? else { continue };
            // It may have been removed or replaced since.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent.as_fd(), base, flags, Mode::empty()) {
                Ok(directory) => rustix::fs::futimens(directory, &times).map_err(fail)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(())
    }
}

/// Returns the times of an entry: the time of access is never before the time of change.
pub(super) fn times(entry: &Entry) -> (Time, Time) {
    let accessed = entry.accessed.unwrap_or(entry.modified).max(entry.modified);
    (accessed.bounded(), entry.modified.bounded())
}

fn stamps(accessed: Time, modified: Time) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: spec(accessed), last_modification: spec(modified) }
}

/// Says whether access lists among the attributes may have changed the mode.
fn has_lists(entry: &Entry) -> bool {
    entry.xattrs.iter().any(|(key, _)| key.starts_with(b"system.posix_acl"))
}

/// What an attribute is set on.
enum On<'a> {
    Open(BorrowedFd<'a>),
    Named(BorrowedFd<'a>, &'a CStr),
}

impl Extractor {
    /// Says whether something that this process made there has another owner than the entry's.
    fn is_foreign(&self, directory: &Directory, entry: &Entry) -> bool {
        (entry.uid, entry.gid) != self.own || directory.passes_on == PassesOn::Something
    }

    /// Gives a new file, whose content is written, what the entry says.
    pub(super) fn describe_open(
        &self,
        directory: &Directory,
        file: BorrowedFd<'_>,
        name: &Name,
        entry: &Entry,
    ) -> Result<()> {
        if self.is_foreign(directory, entry) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))
                .map_err(|error| failed("change the owner of", name, error))?;
        }
        // A write or a change of owner takes capabilities away.
        set_attributes(&On::Open(file), name, entry)?;
        // And a change of owner takes the set-id bits away.
        if entry.mode & 0o6000 != 0
            || directory.passes_on == PassesOn::Something
            || has_lists(entry)
        {
            rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
                .map_err(|error| failed("change the mode of", name, error))?;
        }
        let (accessed, modified) = times(entry);
        rustix::fs::futimens(file, &stamps(accessed, modified))
            .map_err(|error| failed("set times of", name, error))
    }

    /// Gives something that was just made, and is no directory, what the entry says.
    pub(super) fn describe(&self, directory: &Directory, name: &Name, entry: &Entry) -> Result<()> {
        self.describe_owner(directory, name, entry)?;
        set_attributes(&On::Named(directory.as_fd(), &name.base), name, entry)?;
        if entry.kind != Kind::Symlink
            && (entry.mode & 0o6000 != 0
                || directory.passes_on == PassesOn::Something
                || has_lists(entry))
        {
            change_mode(directory, name, entry.mode)?;
        }
        let (accessed, modified) = times(entry);
        let stamps = stamps(accessed, modified);
        rustix::fs::utimensat(directory, &name.base, &stamps, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("set times of", name, error))
    }

    /// Gives a directory what the entry says, but for its times.
    pub(super) fn describe_folder(
        &mut self,
        directory: &Directory,
        name: &Name,
        entry: &Entry,
        was_there: bool,
    ) -> Result<()> {
        if was_there {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(directory, &name.base, Some(uid), Some(gid), flags)
                .map_err(|error| failed("change the owner of", name, error))?;
        } else {
            self.describe_owner(directory, name, entry)?;
        }
        set_attributes(&On::Named(directory.as_fd(), &name.base), name, entry)?;
        let passes_on = entry.mode & 0o2000 != 0 || has_lists(entry);
        if was_there
            || entry.mode & 0o6000 != 0
            || directory.passes_on == PassesOn::Something
            || has_lists(entry)
        {
            change_mode(directory, name, entry.mode)?;
        }
        if was_there && passes_on {
            // What is known of it as a parent is out of date.
            self.directories.forget();
        }
        Ok(())
    }

    fn describe_owner(&self, directory: &Directory, name: &Name, entry: &Entry) -> Result<()> {
        if !self.is_foreign(directory, entry) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(directory, &name.base, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("change the owner of", name, error))
    }
}

/// Follows links, so the name must not be one.
fn change_mode(directory: &Directory, name: &Name, mode: u32) -> Result<()> {
    rustix::fs::chmodat(directory, &name.base, Mode::from_raw_mode(mode), AtFlags::empty())
        .map_err(|error| failed("change the mode of", name, error))
}

fn set_attributes(on: &On<'_>, name: &Name, entry: &Entry) -> Result<()> {
    for (key, value) in &entry.xattrs {
        let shown = String::from_utf8_lossy(key);
        // They steer the machine, overlayfs for one; no layer may set them.
        if key.starts_with(b"trusted.") {
            tracing::warn!(file = %name, attribute = %shown, "ignored attribute of a layer");
            continue;
        }
        let Ok(key) = CString::new(&key[..]) else { continue };
        let result = match on {
            On::Open(file) => xattr::set_open(*file, &key, value),
            On::Named(directory, base) => xattr::set(*directory, base, &key, value),
        };
        let Err(error) = result else { continue };
        match Errno::from_io_error(&error) {
            Some(Errno::NOTSUP) => {}
            // Only files and directories can have users' attributes (xattr(7)).
            Some(Errno::PERM)
                if key.to_bytes().starts_with(b"user.")
                    && !matches!(entry.kind, Kind::File | Kind::Directory) => {}
            Some(Errno::TOOBIG | Errno::RANGE) => {
                return Err(failed("set attribute of", name, Errno::INVAL));
            }
            _ => return Err(failed_io(&format!("set attribute {shown} of"), name, &error)),
        }
        tracing::warn!(file = %name, attribute = %shown, "ignored attribute of a layer");
    }
    Ok(())
}
