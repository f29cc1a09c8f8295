//! `clone3(2)`: a child process in new namespaces, and in its cgroup, from the start.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// What a child is to have of its own, besides its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

/// How a child is cloned.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneOptions<'a> {
    /// The namespaces that are new in it.
    pub namespaces: Namespaces,
    /// The v2 cgroup that it starts in; the caller's otherwise.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Whose child it is.
    pub parent: Parent,
}

/// Whose child a cloned process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// The caller's.
    #[default]
    Caller,
    /// The caller's parent's.
    Inherited,
}

impl Namespaces {
    /// None.
    pub const NONE: Namespaces = Namespaces(0);
    /// Mounts.
    pub const MOUNT: Namespaces = Namespaces(libc::CLONE_NEWNS as u64);
    /// Cgroups.
    pub const CGROUP: Namespaces = Namespaces(libc::CLONE_NEWCGROUP as u64);
    /// Host and domain name.
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC as u64);
    /// User and group ids.
    pub const USER: Namespaces = Namespaces(libc::CLONE_NEWUSER as u64);
    /// Process ids.
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID as u64);
    /// Network.
    pub const NETWORK: Namespaces = Namespaces(libc::CLONE_NEWNET as u64);
    /// Clocks.
    pub const TIME: Namespaces = Namespaces(libc::CLONE_NEWTIME as u64);

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Namespaces) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in either.
    pub const fn union(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }

    /// What is in both.
    pub const fn intersection(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & other.0)
    }

    /// What is in this one only.
    pub const fn without(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & !other.0)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

impl std::ops::BitOr for Namespaces {
    type Output = Namespaces;

    fn bitor(self, other: Namespaces) -> Namespaces {
        self.union(other)
    }
}

/// Clones the process and runs `child` in the copy, which exits with the status it returns if it does
/// not become another program. Gives the child's id and a close-on-exec pidfd.
///
/// The copy has only the calling thread. If there were others, locks they held stay locked in it,
/// the allocator's among them: `child` should neither allocate nor take a lock nor panic. (A panic
/// ends the child with status 101.)
///
/// The child has default handlers for all signals that had a handler.
pub fn clone_child<F>(options: &CloneOptions<'_>, child: F) -> Result<(Pid, OwnedFd)>
where
    F: FnOnce() -> i32,
{
    let mut pidfd: RawFd = -1;
    let mut flags = options.namespaces.bits() | CLONE_CLEAR_SIGHAND | libc::CLONE_PIDFD as u64;
    let mut exit_signal = libc::SIGCHLD as u64;
    if options.parent == Parent::Inherited {
        flags |= libc::CLONE_PARENT as u64;
        exit_signal = 0;
    }
    let mut cgroup = 0;
    if let Some(fd) = options.cgroup {
        flags |= CLONE_INTO_CGROUP;
        cgroup = fd.as_raw_fd() as u64;
    }
    let args = CloneArgs {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal,
        cgroup,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has its own copy of all memory, so it can break nothing of
    // the parent's; `args` is a valid clone_args of the size given and outlives the call; without a
    // stack in it the child goes on on its copy of this one.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(last_error()),
        0 => {
            let _bomb = ExitOnUnwind;
            exit_now(child())
        }
        pid => {
            // SAFETY: CLONE_PIDFD made the kernel store a descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Pid::from_raw(pid as i32).map(|pid| (pid, pidfd)).ok_or(Errno::SRCH)
        }
    }
}

/// Ends the calling process at once: no exit handlers, no destructors. For cloned children.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of the kernel, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Keeps a panic in the child from unwinding into the copy of the parent's frames.
struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit_now(101)
    }
}

pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
