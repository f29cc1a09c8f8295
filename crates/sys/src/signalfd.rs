//! `signalfd(2)`: signals as something to read, for event loops.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::{Errno, Result};

use crate::clone::last_error;

/// Signals that come in by a descriptor rather than by a handler.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks these signals in the calling thread and those it will start, and opens a descriptor
    /// that is readable when one of them is pending. Non-blocking, close-on-exec.
    pub fn new(signals: &[i32]) -> Result<SignalFd> {
        // SAFETY: sigset_t is a plain bit set, for which all zeroes is valid; sigemptyset and
        // sigaddset write into it only; it outlives all calls that read it.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                if libc::sigaddset(&raw mut set, *signal) != 0 {
                    return Err(last_error());
                }
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) {
                0 => libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK),
                error => return Err(Errno::from_raw_os_error(error)),
            }
        };
        match fd {
            -1 => Err(last_error()),
            // SAFETY: the kernel just made this descriptor, so nobody else owns it.
            fd => Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    }

    /// Takes the next pending signal's number; `None` when there is none.
    pub fn next(&self) -> Result<Option<i32>> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = [0_u8; SIZE];
        loop {
            return match rustix::io::read(&self.0, &mut info) {
                // `ssi_signo` comes first.
                Ok(SIZE) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
                Ok(_) | Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error),
            };
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid};

    #[test]
    fn tells_a_signal_once() {
        // Blocked in this thread only, so it must be sent to this thread.
        let signals = SignalFd::new(&[Signal::USR2.as_raw()]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        let thread = rustix::thread::gettid();
        // SAFETY: sends a signal that is blocked here to this very thread.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                getpid().as_raw_nonzero().get(),
                thread.as_raw_nonzero().get(),
                libc::SIGUSR2,
            )
        };
        assert_eq!(sent, 0);
        assert_eq!(signals.next().unwrap(), Some(libc::SIGUSR2));
        assert_eq!(signals.next().unwrap(), None);
    }
}
