//! Carrying a file's owner, mode, extended attributes and times over to another.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::xattr;

/// Gives the open file `to` what the open file `from` has; `stat` is that of `from`.
pub fn copy_open(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    for key in xattr::list_open(from)? {
        if let Some(value) = xattr::get_open(from, &key)? {
            tolerate(xattr::set_open(to, &key, &value))?;
        }
    }
    // After the owner, since a change of owner clears the set-id bits.
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

/// Gives `to_name` what `from_name` has, for files that cannot be opened; `stat` is that of the latter.
pub fn copy_at(
    (from, from_name): (BorrowedFd<'_>, &CStr),
    (to, to_name): (BorrowedFd<'_>, &CStr),
    stat: &Stat,
) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, to_name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    for key in xattr::list(from, from_name)? {
        if let Some(value) = xattr::get(from, from_name, &key)? {
            tolerate(xattr::set(to, to_name, &key, &value))?;
        }
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(to, to_name, mode, AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(to, to_name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Returns a file's times of access and change.
pub fn times(stat: &Stat) -> Timestamps {
    let nanoseconds = |value| i64::try_from(value).unwrap_or(0);
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: nanoseconds(stat.st_mtime_nsec),
        },
    }
}

/// Attributes that this file system or this process cannot carry are left behind, as `cp -a` does.
fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTSUP | Errno::PERM)) => {
            Ok(())
        }
        result => result,
    }
}
