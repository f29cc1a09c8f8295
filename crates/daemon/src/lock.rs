//! One daemon for one root.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use stowd_core::{Error, Result};

/// How long a lock may be held by what is on its way out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Holds a root for as long as it lives. The kernel frees it when the process ends, however.
pub(crate) struct RootLock(#[allow(dead_code, reason = "kept open: the lock is on it")] File);

impl RootLock {
    /// Takes the root.
    pub(crate) fn take(root: &Path) -> Result<Self> {
        let path = root.join("stowd.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io(format_args!("open {}", path.display()), &error))?;
        match take_in_time(&file) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => {
                Err(Error::unavailable(format_args!("root {} is in use", root.display()))
                    .hint("another daemon runs on it: stop that one, or start this one with --root and --state of its own"))
            }
            Err(error) => Err(Error::io(format_args!("lock {}", path.display()), &error.into())),
        }
    }
}

/// Takes the lock, for which it may have to wait a moment: a daemon that was killed while it started
/// a program leaves a child behind that has the lock too, until it executes that program.
fn take_in_time(file: &File) -> Result<(), Errno> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_second() {
        let root = tempfile::tempdir().unwrap();
        let first = RootLock::take(root.path()).unwrap();
        let second = RootLock::take(root.path()).err().unwrap();
        assert_eq!(second.kind(), stowd_core::ErrorKind::Unavailable);
        drop(first);
        RootLock::take(root.path()).unwrap();
    }
}
