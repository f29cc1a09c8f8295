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
}
