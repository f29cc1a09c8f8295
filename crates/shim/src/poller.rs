//! `epoll(7)`, with what is watched named by [`Key`]s.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, Result};

/// What a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The socket that daemons connect to.
    Listener,
    /// Signals.
    Signals,
    /// The connection to the daemon's events service.
    Publisher,
    /// A daemon's connection.
    Connection(u32),
    /// The source of a copy.
    CopyFrom(u32),
    /// The target of a copy.
    CopyTo(u32),
    /// A cgroup's out-of-memory events.
    Oom(u32),
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

/// An epoll instance; level-triggered.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> Result<Poller> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Poller)
    }

    pub(crate) fn add(&self, fd: impl AsFd, key: Key, interest: Interest) -> Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(key.encode()), interest.flags())
    }

    pub(crate) fn change(&self, fd: impl AsFd, key: Key, interest: Interest) -> Result<()> {
        epoll::modify(&self.0, fd, epoll::EventData::new_u64(key.encode()), interest.flags())
    }

    /// Stops watching. Only needed where the descriptor lives on.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It may not have been watched; then nothing is to be done.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something is ready, or the time is up, and says what is.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Key>> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut space = [MaybeUninit::uninit(); 32];
        match epoll::wait(&self.0, &mut space, timeout.as_ref()) {
            Ok((ready, _)) => {
                Ok(ready.iter().filter_map(|event| Key::decode(event.data.u64())).collect())
            }
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Read => epoll::EventFlags::IN,
            Interest::Write => epoll::EventFlags::OUT,
            Interest::Both => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

impl Key {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Key::Listener => (0, 0),
            Key::Signals => (1, 0),
            Key::Publisher => (2, 0),
            Key::Connection(number) => (3, number),
            Key::CopyFrom(number) => (4, number),
            Key::CopyTo(number) => (5, number),
            Key::Oom(number) => (6, number),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(value: u64) -> Option<Key> {
        let number = (value & u64::from(u32::MAX)) as u32;
        Some(match value >> 32 {
            0 => Key::Listener,
            1 => Key::Signals,
            2 => Key::Publisher,
            3 => Key::Connection(number),
            4 => Key::CopyFrom(number),
            5 => Key::CopyTo(number),
            6 => Key::Oom(number),
            _ => return None,
        })
    }
}
