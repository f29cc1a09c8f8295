//! A standard stream's descriptor. It stays a blocking one, as other programs share it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) enum Descriptor {
    /// It may make one wait: a terminal, a pipe.
    Waits(AsyncFd<OwnedFd>),
    /// It never does: a file.
    Ready(OwnedFd),
}

impl Descriptor {
    /// Takes a stream, unless it is closed.
    pub(super) fn of(stream: impl AsFd, interest: Interest) -> Option<Self> {
        let own = rustix::io::dup(stream).ok()?;
        #[allow(
            deprecated,
            reason = "the successor is unsafe, for types that change their descriptor; OwnedFd does not"
        )]
        let waits = AsyncFd::try_with_interest(own, interest);
        // Files cannot be waited for, and need not be.
        Some(waits.map_or_else(|error| Self::Ready(error.into_parts().0), Self::Waits))
    }
}

/// Says whether a read or a write would not wait now. The end and errors do not wait either.
pub(super) fn is_ready(fd: &OwnedFd, wanted: PollFlags) -> bool {
    let mut polled = [PollFd::new(fd, wanted)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}
