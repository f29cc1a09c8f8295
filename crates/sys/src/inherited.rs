//! Descriptors that a program was started with.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Result;

use crate::clone::last_error;

/// Returns a copy of the descriptor `number`, close-on-exec and above 9, or `EBADF` if there is none.
///
/// The number itself stays open, also if it belongs to somebody else in the program.
pub fn duplicate(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes any number and changes nothing that exists.
    match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 10) } {
        -1 => Err(last_error()),
        // SAFETY: the kernel just made this descriptor, so nobody else owns it.
        copy => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
    }
}

/// Marks every open descriptor from the number `first` on close-on-exec. None is closed.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: with this flag the call closes nothing; it only changes what a later execve does.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first.max(0).unsigned_abs(),
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == -1 { Err(last_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn copies_or_says_that_there_is_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(duplicate(file.as_raw_fd()).unwrap().as_raw_fd() > 9);
        assert_eq!(duplicate(1_000_000).unwrap_err(), rustix::io::Errno::BADF);
    }

    #[test]
    fn marks_descriptors() {
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        close_on_exec_from(file.as_raw_fd()).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&file).unwrap(), rustix::io::FdFlags::CLOEXEC);
    }
}
