//! Making the mounts below the root.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2, symlinkat};
use rustix::io::{Errno, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree,
};
use rustix::process::fchdir;
use stowd_sys::mount_attr::{ATTR_RDONLY, MountAttr, Reach, set_attr};

use super::inside::{Found, make_dir, make_file, open_in};
use super::{During, Outcome, Step};
use crate::plan::mounts::{
    CgroupTree, CgroupTreeKind, Filesystem, MountKind, MountStep, Shape, set_propagation,
};
use crate::plan::options::{MS_NODEV, MS_NOEXEC, MS_NOSUID};

/// Makes the `index`th mount.
pub(super) fn make(root: BorrowedFd<'_>, index: usize, step: &MountStep) -> Outcome {
    let target = target(root, step).during_nth(Step::MountTarget, index)?;
    let done = match &step.kind {
        MountKind::Attach { tree, .. } => attach(tree.as_fd(), target.fd.as_fd()),
        MountKind::Filesystem(filesystem) => mount_on(filesystem, &target),
        MountKind::Unified { filesystem, instead } => {
            match mount_on(filesystem, &target) {
                // Not ours to mount, or mounted elsewhere already: what the host has of it, then.
                Err(Errno::PERM | Errno::BUSY) => bind(instead, target.fd.as_fd()),
                result => result,
            }
        }
        MountKind::Trees { trees, links, read_only } => {
            cgroup_trees(root, step, &target, trees, links, *read_only)
        }
    };
    done.during_nth(Step::Mount, index)?;
    if step.propagation.is_empty() && step.recursive == MountAttr::default() {
        return Ok(());
    }
    // Opened anew: the target lies below what is mounted on it.
    let top = open_in(root, &step.target, OFlags::PATH).during_nth(Step::Mount, index)?;
    for change in &step.propagation {
        set_propagation(&top, *change).during_nth(Step::Mount, index)?;
    }
    if step.recursive != MountAttr::default() {
        set_attr(&top, Reach::Tree, &step.recursive).during_nth(Step::Mount, index)?;
    }
    Ok(())
}

/// Makes the mount at `path` itself read-only.
pub(super) fn make_read_only(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let top = open_in(root, path, OFlags::PATH)?;
    set_attr(&top, Reach::One, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })
}

/// Puts a detached tree where `target` is.
pub(super) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

/// A copy of the mount (and what is below it) that `fd` is in, with `fd` as its root.
pub(super) fn clone_of(fd: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if reach == Reach::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, c"", flags)
}

fn target(root: BorrowedFd<'_>, step: &MountStep) -> Result<Found> {
    match &step.kind {
        MountKind::Attach { shape: Shape::File, .. } => make_file(root, &step.target),
        MountKind::Filesystem(filesystem) if filesystem.plain_directory => {
            let found = make_dir(root, &step.target)?;
            // Otherwise an image could have what protects `/proc` protect something else.
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = openat2(root, step.target.as_c_str(), flags, Mode::empty(), resolve)?;
            Ok(Found { fd, existed: found.existed })
        }
        _ => make_dir(root, &step.target),
    }
}

fn mount_on(filesystem: &Filesystem, target: &Found) -> Result<()> {
    fchdir(&target.fd)?;
    let flags = MountFlags::from_bits_retain(filesystem.flags);
    let mut buffer = [0u8; 4096];
    let mut data = filesystem.data.as_c_str();
    let mode_given = data.to_bytes().windows(5).any(|part| part == b"mode=");
    if filesystem.copies_mode && target.existed && !mode_given {
        data = with_mode(data, fstat(&target.fd)?.st_mode & 0o7777, &mut buffer)?;
    }
    mount(filesystem.source.as_c_str(), c".", filesystem.kind.as_c_str(), flags, data)
}

/// `data` and the option `mode=` after it, in `buffer`.
fn with_mode<'a>(data: &CStr, mode: u32, buffer: &'a mut [u8; 4096]) -> Result<&'a CStr> {
    let data = data.to_bytes();
    let separator: &[u8] = if data.is_empty() { b"" } else { b"," };
    let digit = |at: u32| b'0' + (mode >> at & 7) as u8;
    let digits = [digit(9), digit(6), digit(3), digit(0)];
    let mut length = 0;
    // What is left of the buffer is zeros, which end the string.
    for part in [data, separator, b"mode=", &digits, b"\0"] {
        let place = buffer.get_mut(length..length + part.len()).ok_or(Errno::TOOBIG)?;
        place.copy_from_slice(part);
        length += part.len();
    }
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::TOOBIG)
}

fn bind(source: &CStr, target: BorrowedFd<'_>) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(rustix::fs::CWD, source, flags)?;
    attach(tree.as_fd(), target)
}

/// The v1 trees side by side in a tmpfs, with links for controllers that share one.
fn cgroup_trees(
    root: BorrowedFd<'_>,
    step: &MountStep,
    target: &Found,
    trees: &[CgroupTree],
    links: &[(std::ffi::CString, std::ffi::CString)],
    read_only: bool,
) -> Result<()> {
    fchdir(&target.fd)?;
    let flags = MountFlags::from_bits_retain(MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mount(c"tmpfs", c".", c"tmpfs", flags, c"mode=755")?;
    let top = open_in(root, &step.target, OFlags::PATH | OFlags::DIRECTORY)?;
    for tree in trees {
        mkdirat(&top, tree.name.as_c_str(), Mode::from(0o755))?;
        let place = open_in(top.as_fd(), &tree.name, OFlags::PATH | OFlags::DIRECTORY)?;
        match &tree.kind {
            CgroupTreeKind::Attach(tree) => attach(tree.as_fd(), place.as_fd())?,
            CgroupTreeKind::Mount { data, flags, source } => {
                fchdir(&place)?;
                let flags = MountFlags::from_bits_retain(*flags);
                mount(source.as_c_str(), c".", c"cgroup", flags, data.as_c_str())?;
            }
        }
    }
    for (link, name) in links {
        symlinkat(name.as_c_str(), &top, link.as_c_str())?;
    }
    if read_only {
        set_attr(&top, Reach::One, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
    }
    Ok(())
}

/// Changes how mount events pass below `/`, of the whole namespace.
pub(super) fn change_host(change: u32) -> Result<()> {
    rustix::mount::mount_change(c"/", MountPropagationFlags::from_bits_retain(change))
}
