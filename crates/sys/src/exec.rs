//! The last steps of a child before it becomes another program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use rustix::io::{Errno, Result};

use crate::clone::last_error;
use crate::namespace::check;

/// A list of C strings with the table of pointers that `execve` wants, made before the clone so that
/// the child need not allocate.
#[derive(Debug)]
pub struct ExecStrings {
    strings: Vec<CString>,
    /// One pointer per string, a spare one, and the terminating null.
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into the heap blocks of `strings`, which the value owns and never
// changes; sharing or sending it moves neither.
unsafe impl Send for ExecStrings {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for ExecStrings {}

impl ExecStrings {
    /// Takes the strings.
    pub fn new(strings: Vec<CString>) -> ExecStrings {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.extend([ptr::null(), ptr::null()]);
        ExecStrings { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// The null-terminated table of pointers, valid as long as this is borrowed.
    pub(crate) fn table(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}

/// Becomes the program at `path`. Returns only on failure. `extra` is added to the environment.
pub fn execve(path: &CStr, args: &ExecStrings, env: &ExecStrings, extra: Option<&CStr>) -> Errno {
    let with_extra = |table: &mut [*const libc::c_char]| {
        if let (Some(extra), Some(spare)) = (extra, table.iter_mut().rev().nth(1)) {
            *spare = extra.as_ptr();
        }
    };
    // The table is copied onto the stack, as `env` may be shared with the parent's other children
    // to come; only a very large environment is worth an allocation, which is safe in a process
    // cloned from a single-threaded one.
    let mut small = [ptr::null(); 512];
    let mut large;
    let length = env.pointers.len();
    let table = if length <= small.len() {
        &mut small[..length]
    } else {
        large = vec![ptr::null(); length];
        &mut large[..]
    };
    table.copy_from_slice(&env.pointers);
    with_extra(table);
    // SAFETY: both tables end with a null pointer and all others in them point to C strings that
    // are alive: `args` and `env` own theirs, `extra` is borrowed for the call.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), table.as_ptr()) };
    last_error()
}

/// Gives every signal its default action and lets all through, as a new program expects.
///
/// `CLONE_CLEAR_SIGHAND` leaves ignored signals ignored, and so does `execve`; Rust programs ignore
/// `SIGPIPE`.
pub fn reset_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL with no flags; an all-zero set blocks nothing; both
    // outlive their calls. Signals whose action cannot be set are refused without effect.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        let empty = 0u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            ptr::null::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// Closes every descriptor from `first` up but those in `keep` (sorted or not, at most 8).
///
/// For a child that is about to become another program and uses none of them any more: whatever
/// owned them must not be dropped afterwards.
pub fn close_from(first: RawFd, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut kept = [RawFd::MAX; 8];
    if keep.len() > kept.len() {
        return Err(Errno::INVAL);
    }
    for (slot, fd) in kept.iter_mut().zip(keep) {
        *slot = fd.as_raw_fd();
    }
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if fd > from {
            let last = if fd == RawFd::MAX { u32::MAX } else { fd as u32 - 1 };
            close_range(from as u32, last)?;
        }
        if fd == RawFd::MAX {
            break;
        }
        from = from.max(fd + 1);
    }
    Ok(())
}

/// Makes `target` a copy of `fd` that stays open across `execve`; whatever was there is closed.
///
/// For a child that lays out the descriptors of the program it becomes.
pub fn place_fd(fd: impl AsFd, target: RawFd) -> Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    if raw == target {
        // SAFETY: changes a flag of an open descriptor.
        return check(unsafe { libc::fcntl(raw, libc::F_SETFD, 0) }.into());
    }
    // SAFETY: `raw` is open; what `target` was is given up, as the caller promises.
    check(unsafe { libc::dup3(raw, target, 0) }.into())
}

/// Copies `fd` to the lowest free number from `lowest` up, close-on-exec.
pub fn duplicate_from(fd: impl AsFd, lowest: RawFd) -> Result<std::os::fd::OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, lowest)
}

/// Whether the working directory is below the root directory, as `getcwd(2)` sees it.
pub fn cwd_is_below_root() -> Result<bool> {
    let mut path = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes at most the buffer's length.
    check(unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) })?;
    // The system call, unlike the C library, says "(unreachable)" first for what is outside.
    Ok(path[0] == b'/')
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: closing is what the callers' callers asked for, see `close_from`.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}
