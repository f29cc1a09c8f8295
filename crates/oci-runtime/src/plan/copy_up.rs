//! A tmpfs that starts with what the directory that it covers has: mount option `tmpcopyup`.
//!
//! It is made and filled by the creator, detached, so that the child need not copy files, for which
//! it would have to allocate. What counts is the root's directory, not what an earlier mount of the
//! same specification may have put over it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, mknodat, openat, openat2,
    readlinkat, statat, symlinkat,
};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use stowd_sys::attributes::{copy_at, copy_open};
use stowd_sys::copy::content;
use stowd_sys::descent::{names, open_dir};

/// Deeper trees are refused: each level takes a descriptor and some stack.
const MAX_DEPTH: usize = 256;

/// Makes the file system with `source` as its name and `data` as its options, and copies what is at
/// `target` below `root` into it. Gives it detached.
pub(crate) fn tmpfs(
    root: BorrowedFd<'_>,
    target: &CStr,
    source: &CStr,
    data: &str,
    attributes: u64,
) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let covered = match openat2(root, target, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(dir) => Some(dir),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno.into()),
    };
    let tree = make(source, data, attributes, covered.as_ref())?;
    if let Some(covered) = covered {
        let top = openat(&tree, c".", flags, Mode::empty())?;
        fill(covered.as_fd(), top.as_fd(), 0)?;
    }
    Ok(tree)
}

fn make(source: &CStr, data: &str, attributes: u64, covered: Option<&OwnedFd>) -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", source)?;
    for option in data.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value.trim_matches('"'))?,
            None => fsconfig_set_flag(&context, option)?,
        }
    }
    if let Some(covered) = covered.filter(|_| !data.split(',').any(|one| one.starts_with("mode=")))
    {
        let mode = rustix::fs::fstat(covered)?.st_mode & 0o7777;
        fsconfig_set_string(&context, c"mode", format!("{mode:o}"))?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn fill(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in names(from)? {
        let name = entry.name.as_c_str();
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::from(0o700))?;
                let (below, copy) = (open_dir(from, name)?, open_dir(to, name)?);
                fill(below.as_fd(), copy.as_fd(), depth + 1)?;
                copy_open(below.as_fd(), copy.as_fd(), &stat)?;
            }
            FileType::RegularFile => file(from, to, name, &stat)?,
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                copy_at((from, name), (to, name), &stat)?;
            }
            // Nobody listens at its copy.
            FileType::Socket | FileType::Unknown => {}
            kind => {
                mknodat(to, name, kind, Mode::from(0o600), stat.st_rdev)?;
                copy_at((from, name), (to, name), &stat)?;
            }
        }
    }
    Ok(())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let copy = openat(to, name, flags | create, Mode::from(0o600))?;
    content(source.as_fd(), copy.as_fd(), u64::try_from(stat.st_size).unwrap_or(0))?;
    copy_open(source.as_fd(), copy.as_fd(), stat)
}
