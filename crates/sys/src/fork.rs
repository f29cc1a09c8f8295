//! `fork(2)`: for programs that go on in the background.

use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::clone::last_error;

/// Which of the two a process is after [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The one that was there before, with the new one's id.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Copies the process, which must have a single thread: with more, the copy could find locks that
/// nobody is left to release, so [`Errno::BUSY`] is the answer.
pub fn fork() -> Result<Fork> {
    // `.` and `..` and one entry for each thread.
    if rustix::fs::stat("/proc/self/task")?.st_nlink > 3 {
        return Err(Errno::BUSY);
    }
    // SAFETY: the process has no other thread whose locks or half-done work the copy would inherit.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or(Errno::SRCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_with_more_threads() {
        // The test harness runs this on a thread beside its main one.
        assert_eq!(fork(), Err(Errno::BUSY));
    }
}
