//! Trees that only the kernel can show: mounted where nobody sees them.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use stowd_core::mount::Mount;
use stowd_core::{Error, Result};
use stowd_sys::clone::Namespaces;
use stowd_sys::{fs_context, namespace};

/// A directory that is always there, and that no mount's source is in.
const POINT: &str = "/sys";

/// Performs mounts, read-only, and returns the directory that they show.
///
/// They are made by a thread in a mount namespace of its own, which goes with it; the mounts live as
/// long as the descriptor. So nothing can be left behind, whenever this process ends.
pub(super) fn open(mounts: &[Mount]) -> Result<OwnedFd> {
    fs_context::run("layer-mount", || mount(mounts))
        .unwrap_or_else(|error| Err(Error::io("start a thread", &error)))
}

fn mount(mounts: &[Mount]) -> Result<OwnedFd> {
    let failed = |act: &str, error: rustix::io::Errno| Error::io(act, &error.into());
    namespace::unshare(Namespaces::MOUNT)
        .map_err(|error| failed("make a mount namespace", error))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)
        .map_err(|error| failed("make a mount namespace private", error))?;
    stowd_mount::mount_all(&stowd_mount::overlay::read_only(mounts), Path::new(POINT))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, POINT, flags, Mode::empty())
        .map_err(|error| failed("open a mounted tree", error))
}
