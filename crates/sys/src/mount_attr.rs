//! `mount_setattr(2)`: changes the attributes and the propagation of mounts, also of detached ones.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Result;

use crate::namespace::check;

/// What to change about a mount. All zero changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set: `MOUNT_ATTR_*`.
    pub set: u64,
    /// Attributes to clear; with an access time in `set`, all of [`ATTR_ATIME`].
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
}

/// Which mounts to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The one alone.
    One,
    /// It and all below it.
    Tree,
}

/// Read-only.
pub const ATTR_RDONLY: u64 = 0x1;
/// Set-user-id bits have no effect.
pub const ATTR_NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const ATTR_NODEV: u64 = 0x4;
/// Nothing can be executed.
pub const ATTR_NOEXEC: u64 = 0x8;
/// All bits of the access time setting; as a value, none: relative access times.
pub const ATTR_ATIME: u64 = 0x70;
/// Access times are not updated.
pub const ATTR_NOATIME: u64 = 0x10;
/// Access times are always updated.
pub const ATTR_STRICTATIME: u64 = 0x20;
/// Access times of directories are not updated.
pub const ATTR_NODIRATIME: u64 = 0x80;
/// Ids are mapped.
pub const ATTR_IDMAP: u64 = 0x10_0000;
/// Symbolic links are not followed.
pub const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

/// Changes the mount that `mount` is the root of.
pub fn set_attr(mount: impl AsFd, reach: Reach, attr: &MountAttr) -> Result<()> {
    setattr(mount.as_fd(), reach, attr, 0)
}

/// Maps the ids of the detached mount `mount` as the user namespace `mapping` maps them.
pub fn map_ids(mount: impl AsFd, reach: Reach, mapping: BorrowedFd<'_>) -> Result<()> {
    let attr = MountAttr { set: ATTR_IDMAP, ..MountAttr::default() };
    setattr(mount.as_fd(), reach, &attr, mapping.as_raw_fd() as u64)
}

#[repr(C)]
struct RawAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn setattr(mount: BorrowedFd<'_>, reach: Reach, attr: &MountAttr, userns_fd: u64) -> Result<()> {
    let raw =
        RawAttr { set: attr.set, clear: attr.clear, propagation: attr.propagation, userns_fd };
    let recursive = if reach == Reach::Tree { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `raw` is a mount_attr of the size given, and both
    // outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const raw,
            size_of::<RawAttr>(),
        )
    })
}
