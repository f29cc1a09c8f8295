//! Entering and leaving namespaces.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Result;

use crate::clone::{Namespaces, last_error};

/// Moves the calling thread into new namespaces (`unshare(2)`). A new pid namespace is for its
/// children only.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: only namespace flags can be in `namespaces`, none of which touch memory or the
    // descriptor table.
    check(unsafe { libc::syscall(libc::SYS_unshare, namespaces.bits()) })
}

/// Moves the calling thread into namespaces: the one that `fd` stands for, or, if it is a pidfd,
/// those of its process (`setns(2)`).
pub fn enter(fd: impl AsFd, namespaces: Namespaces) -> Result<()> {
    // SAFETY: the descriptor is open while borrowed; namespaces do not touch memory.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_fd().as_raw_fd(), namespaces.bits()) })
}

/// While it lives, children of the calling thread are born in another pid namespace.
#[derive(Debug)]
pub struct ChildPidNamespace<'a> {
    own: BorrowedFd<'a>,
}

impl<'a> ChildPidNamespace<'a> {
    /// Directs children into the pid namespace of `target` (a namespace file or a pidfd) until the
    /// result is dropped, when they go to `own` again, the thread's own pid namespace.
    pub fn enter(target: impl AsFd, own: BorrowedFd<'a>) -> Result<ChildPidNamespace<'a>> {
        enter(target, Namespaces::PID)?;
        Ok(ChildPidNamespace { own })
    }
}

impl Drop for ChildPidNamespace<'_> {
    fn drop(&mut self) {
        // Going back to the own namespace cannot fail: it is alive as long as the thread is.
        _ = enter(self.own, Namespaces::PID);
    }
}

pub(crate) fn check(result: libc::c_long) -> Result<()> {
    if result == -1 { Err(last_error()) } else { Ok(()) }
}
