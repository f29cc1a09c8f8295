//! Extended attributes of what a directory descriptor and a name say, never of a link's target.
//!
//! The calls that take a directory descriptor came with Linux 6.13. Until they can be relied on, the
//! way goes through the descriptor's entry below `/proc/self/fd`, which is as safe against renames.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Returns an attribute's value, or nothing when there is no such attribute or no attributes at all
/// on that file system.
pub fn get(dir: BorrowedFd<'_>, name: &CStr, key: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = path(dir, name)?;
    read(|buffer| rustix::fs::lgetxattr(&path, key, buffer))
}

/// Returns an attribute's value of an open file, as [`get`].
pub fn get_open(file: BorrowedFd<'_>, key: &CStr) -> io::Result<Option<Vec<u8>>> {
    read(|buffer| rustix::fs::fgetxattr(file, key, buffer))
}

/// Returns the keys of all attributes.
pub fn list(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<CString>> {
    let path = path(dir, name)?;
    Ok(keys(&read(|buffer| rustix::fs::llistxattr(&path, buffer))?.unwrap_or_default()))
}

/// Returns the keys of all attributes of an open file.
pub fn list_open(file: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    Ok(keys(&read(|buffer| rustix::fs::flistxattr(file, buffer))?.unwrap_or_default()))
}

/// Sets an attribute.
pub fn set(dir: BorrowedFd<'_>, name: &CStr, key: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path(dir, name)?, key, value, XattrFlags::empty())?)
}

/// Sets an attribute of an open file.
pub fn set_open(file: BorrowedFd<'_>, key: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, key, value, XattrFlags::empty())?)
}

/// Removes an attribute of an open file; one that is not there counts as removed.
pub fn remove_open(file: BorrowedFd<'_>, key: &CStr) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, key) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn path(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn read(
    mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    // Values have at most 64 KiB; most have a few bytes.
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(Some(buffer));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

fn keys(list: &[u8]) -> Vec<CString> {
    list.split(|byte| *byte == 0)
        .filter(|key| !key.is_empty())
        .filter_map(|key| CString::new(key).ok())
        .collect()
}
