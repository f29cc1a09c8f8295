//! Sending any signal, real-time ones included, to a process that cannot be mistaken.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::io::Result;

use crate::namespace::check;

/// Sends the signal `number` to the process of `pidfd`; 0 only asks whether it is there.
pub fn send(pidfd: impl AsFd, number: i32) -> Result<()> {
    // SAFETY: the descriptor is open while borrowed; a null siginfo makes the kernel fill one in.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            number,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
}
