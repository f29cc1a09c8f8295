//! The container's view of files: from the host's mounts to its own root.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, fstat, fstatfs,
    mknodat, open, openat, openat2, symlinkat, unlinkat,
};
use rustix::io::{Errno, Result, write};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root, umask};
use stowd_sys::mount_attr::{ATTR_RDONLY, MountAttr, Reach, set_attr};

use super::inside::{make_dir, make_file, open_in, with_parent};
use super::mounts::{attach, change_host, clone_of, make, make_read_only};
use super::{During, Outcome, Step};
use crate::options::RootSwitch;
use crate::plan::InitPlan;
use crate::plan::mounts::{PROC_SUPER_MAGIC, set_propagation};
use crate::plan::options::{MS_REC, MS_SLAVE};
use crate::plan::rootfs::{DevicePlan, RootPlan};
use crate::sync::Caller;

const READ_ONLY: MountAttr = MountAttr { set: ATTR_RDONLY, clear: 0, propagation: 0 };

/// Builds the root and enters it.
pub(super) fn build(plan: &RootPlan, init: &InitPlan, caller: Caller<'_>) -> Outcome {
    change_host(plan.host_propagation).during(Step::HostPropagation)?;
    umask(Mode::empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open(plan.path.as_c_str(), flags, Mode::empty()).during(Step::AttachRoot)?;
    attach(plan.tree.as_fd(), place.as_fd()).during(Step::AttachRoot)?;
    let root = plan.tree.as_fd();
    for (index, step) in plan.mounts.iter().enumerate() {
        make(root, index, step)?;
    }
    if plan.own_dev {
        for (index, device) in plan.devices.iter().enumerate() {
            make_device(root, device).during_nth(Step::Device, index)?;
        }
        link_devices(root, plan.core_link).during(Step::DeviceLinks)?;
    }
    caller.ready().during(Step::Sync)?;
    set_sysctls(init)?;
    make_dir(root, &plan.cwd).during(Step::MakeCwd)?;
    match plan.switch {
        RootSwitch::Pivot => pivot(root),
        RootSwitch::Move => move_root(root),
    }
    .during(Step::SwitchRoot)?;
    if let Some(propagation) = plan.propagation {
        change_host(propagation).during(Step::RootPropagation)?;
    }
    for (index, step) in plan.mounts.iter().enumerate().filter(|(_, step)| step.read_only_later) {
        make_read_only(new_root().during(Step::ReadOnlyRoot)?.as_fd(), &step.target)
            .during_nth(Step::Mount, index)?;
    }
    Ok(())
}

/// Hides and protects paths. After the terminal, which needs a writable `/dev`.
pub(super) fn protect(plan: &RootPlan) -> Outcome {
    let root = new_root().during(Step::ReadOnlyRoot)?;
    if plan.read_only {
        set_attr(&root, Reach::One, &READ_ONLY).during(Step::ReadOnlyRoot)?;
    }
    for (index, path) in plan.read_only_paths.iter().enumerate() {
        protect_path(root.as_fd(), path).during_nth(Step::ReadOnlyPath, index)?;
    }
    let mut empty = None;
    for (index, path) in plan.masked_paths.iter().enumerate() {
        mask_path(root.as_fd(), path, plan.mask_label.as_deref(), &mut empty)
            .during_nth(Step::MaskedPath, index)?;
    }
    chdir(c"/").during(Step::Cwd)
}

/// Writes kernel parameters, by way of the host's `/proc`, which shows those of our namespaces.
///
/// In a joined mount namespace it is not the host's, but whatever is there: nothing that is mounted
/// or linked in it may turn a value to another file.
pub(super) fn set_sysctls(init: &InitPlan) -> Outcome {
    if init.sysctls.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = open(c"/proc", flags, Mode::empty()).during(Step::Sysctl)?;
    if fstatfs(&proc).during(Step::Sysctl)?.f_type as u64 != PROC_SUPER_MAGIC {
        return Err(Errno::NODEV).during(Step::Sysctl);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    for (index, (path, value)) in init.sysctls.iter().enumerate() {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        openat2(&proc, path.as_c_str(), flags, Mode::empty(), resolve)
            .and_then(|file| write(&file, value.to_bytes()))
            .during_nth(Step::Sysctl, index)?;
    }
    Ok(())
}

/// The root as a descriptor of the mount that is there now.
fn new_root() -> Result<OwnedFd> {
    open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = open(c"/", flags, Mode::empty())?;
    fchdir(root)?;
    // The old root comes to lie on top of the new one, from where it is taken off again.
    pivot_root(c".", c".")?;
    fchdir(&old)?;
    rustix::mount::mount_change(
        c".",
        rustix::mount::MountPropagationFlags::from_bits_retain(MS_SLAVE | MS_REC),
    )?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")
}

/// For a host whose root is an initramfs, which cannot be moved.
fn move_root(root: BorrowedFd<'_>) -> Result<()> {
    let old = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // An attached mount moves only out of a place that does not tell others.
    set_propagation_of(root)?;
    attach(root, old.as_fd())?;
    fchdir(root)?;
    chroot(c".")?;
    chdir(c"/")
}

fn set_propagation_of(root: BorrowedFd<'_>) -> Result<()> {
    let own = root.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    set_propagation(&own, MS_SLAVE)
}

fn make_device(root: BorrowedFd<'_>, device: &DevicePlan) -> Result<()> {
    if let Some(tree) = &device.bind {
        let place = make_file(root, &device.path)?;
        return attach(tree.as_fd(), place.fd.as_fd());
    }
    with_parent(root, &device.path, |parent, name| {
        let mode = Mode::from_raw_mode(device.mode);
        match mknodat(parent, name, device.kind, mode, device.number) {
            // An image, or a mount over /dev, brought it along.
            Err(Errno::EXIST) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let stat = fstat(openat(parent, name, flags, Mode::empty())?)?;
                let same = FileType::from_raw_mode(stat.st_mode) == device.kind
                    && (device.kind == FileType::Fifo || stat.st_rdev == device.number);
                return if same { Ok(()) } else { Err(Errno::EXIST) };
            }
            result => result?,
        }
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(parent, name, mode, AtFlags::empty())
    })
}

fn link_devices(root: BorrowedFd<'_>, core: bool) -> Result<()> {
    const LINKS: [(&CStr, &CStr); 5] = [
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
        (c"/proc/kcore", c"core"),
    ];
    let dev = make_dir(root, c"/dev")?.fd;
    let links = if core { &LINKS[..] } else { &LINKS[..4] };
    for (target, name) in links {
        match symlinkat(*target, &dev, *name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    // The container's own devpts, whatever an image has there.
    match unlinkat(&dev, c"ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    symlinkat(c"pts/ptmx", &dev, c"ptmx")
}

fn protect_path(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let place = match open_in(root, path, OFlags::PATH) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let tree = clone_of(place.as_fd(), Reach::Tree)?;
    set_attr(&tree, Reach::One, &READ_ONLY)?;
    attach(tree.as_fd(), place.as_fd())
}

/// Covers what is at `path`: a directory with `empty`, which is mounted for the first one and shared
/// by all others, anything else with `/dev/null`.
fn mask_path(
    root: BorrowedFd<'_>,
    path: &CStr,
    label: Option<&CStr>,
    empty: &mut Option<OwnedFd>,
) -> Result<()> {
    let place = match open_in(root, path, OFlags::PATH) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    if FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Directory {
        if let Some(empty) = empty {
            return attach(clone_of(empty.as_fd(), Reach::One)?.as_fd(), place.as_fd());
        }
        let made = empty_folder(label)?;
        attach(made.as_fd(), place.as_fd())?;
        *empty = Some(made);
        return Ok(());
    }
    let null = open_in(root, c"/dev/null", OFlags::PATH)?;
    let stat = fstat(&null)?;
    if stat.st_rdev != rustix::fs::makedev(1, 3)
        || FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
    {
        return Err(Errno::NODEV);
    }
    attach(clone_of(null.as_fd(), Reach::One)?.as_fd(), place.as_fd())
}

/// A file system with nothing in it and no room for anything, in no place yet.
fn empty_folder(label: Option<&CStr>) -> Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", c"tmpfs")?;
    // A way to write there must not become a way to use up memory.
    fsconfig_set_string(&context, c"nr_blocks", c"1")?;
    fsconfig_set_string(&context, c"nr_inodes", c"1")?;
    if let Some(label) = label {
        fsconfig_set_string(&context, c"context", label)?;
    }
    fsconfig_set_flag(&context, c"ro")?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}
