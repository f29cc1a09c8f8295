//! How a new process gets into its cgroups at the least cost (see the crate's documentation).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Open descriptors through which a child joins its container's cgroups.
///
/// Made by the parent with [`Cgroup::joiner`](crate::Cgroup::joiner), used by the child between
/// `clone3` and `execve`; all descriptors are close-on-exec.
#[derive(Debug)]
pub struct Joiner {
    /// Each v1 hierarchy's `tasks`.
    pub(crate) tasks: Vec<OwnedFd>,
    /// The v2 directory and its `cgroup.procs`.
    pub(crate) unified: Option<Unified>,
}

#[derive(Debug)]
pub(crate) struct Unified {
    pub(crate) dir: OwnedFd,
    pub(crate) procs: OwnedFd,
}

/// The child could not join. Carries no path: it is made where allocating is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to join cgroup")]
pub struct JoinError {
    /// The kernel's answer.
    #[source]
    pub errno: Errno,
}

impl Joiner {
    /// The v2 cgroup's directory for `clone3`'s `cgroup` field with `CLONE_INTO_CGROUP`; `None` on
    /// pure v1.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|unified| unified.dir.as_fd())
    }

    /// Moves the calling thread, which must be its process's only one, into all v1 cgroups.
    ///
    /// For the child, right after `clone3` put it into the v2 cgroup. Neither allocates nor locks.
    pub fn join(&self) -> Result<(), JoinError> {
        self.tasks.iter().try_for_each(write_self)
    }

    /// Moves the calling process into the v2 cgroup, for a child that `clone3` did not place there
    /// (kernels before 5.7, or a plain `fork`). Does nothing on pure v1. Waits up to 20 ms.
    pub fn join_unified(&self) -> Result<(), JoinError> {
        self.unified.as_ref().map_or(Ok(()), |unified| write_self(&unified.procs))
    }
}

fn write_self(fd: &OwnedFd) -> Result<(), JoinError> {
    loop {
        match rustix::io::write(fd, b"0") {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(JoinError { errno }),
        }
    }
}
