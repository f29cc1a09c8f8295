//! Copies between a process's streams and where the client wants them, without blocking.
//!
//! Only terminals, and the output of processes whose descendants may outlive them, are copied
//! (see [`crate::stdio`]).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::poller::{Interest, Key, Poller};

/// The most bytes that one turn moves, so that one loud process does not starve the others.
const ROUNDS: usize = 16;

/// How much is read at once: a pipe's usual size.
const CHUNK: usize = 64 << 10;

/// All copies that are under way.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    all: BTreeMap<u32, Copy>,
    last: u32,
    /// One for all: nothing stays in it between turns.
    buffer: Vec<u8>,
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All that there was to read has been written.
    Idle,
    /// There is more.
    Busy,
    /// The source has ended, or the target takes no more.
    Over,
}

#[derive(Debug)]
struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    /// Read, but not yet written, because the target is full.
    rest: Vec<u8>,
    watched: Watched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    From,
    To,
    Nothing,
}

impl Copies {
    /// Starts one. Both ends are made non-blocking.
    pub(crate) fn start(&mut self, poller: &Poller, from: OwnedFd, to: OwnedFd) -> Result<u32> {
        rustix::io::ioctl_fionbio(&from, true)?;
        rustix::io::ioctl_fionbio(&to, true)?;
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        let mut copy = Copy { from, to, rest: Vec::new(), watched: Watched::Nothing };
        copy.watch(poller, number, Watched::From)?;
        self.all.insert(number, copy);
        Ok(number)
    }

    /// Moves what can be moved now. One that is over is gone afterwards.
    pub(crate) fn turn(&mut self, poller: &Poller, number: u32) -> Progress {
        let Some(copy) = self.all.get_mut(&number) else { return Progress::Over };
        self.buffer.resize(CHUNK, 0);
        let progress = copy.turn(&mut self.buffer);
        let wanted = match progress {
            Progress::Over => {
                self.end(poller, number);
                return progress;
            }
            _ if !copy.rest.is_empty() => Watched::To,
            _ => Watched::From,
        };
        if copy.watch(poller, number, wanted).is_err() {
            self.end(poller, number);
            return Progress::Over;
        }
        progress
    }

    /// Ends one, whatever it still holds.
    pub(crate) fn end(&mut self, poller: &Poller, number: u32) {
        if let Some(mut copy) = self.all.remove(&number) {
            // Closing is not enough: a terminal's master has other descriptors.
            let _ = copy.watch(poller, number, Watched::Nothing);
        }
        if self.all.is_empty() {
            self.buffer = Vec::new();
        }
    }
}

impl Copy {
    fn turn(&mut self, buffer: &mut [u8]) -> Progress {
        for _ in 0..ROUNDS {
            while !self.rest.is_empty() {
                match rustix::io::write(&self.to, &self.rest) {
                    Ok(count) => drop(self.rest.drain(..count)),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return Progress::Busy,
                    Err(_) => return Progress::Over,
                }
            }
            self.rest = Vec::new();
            let mut data = match rustix::io::read(&self.from, &mut *buffer) {
                // A terminal's master says EIO when the last process has closed it.
                Ok(0) | Err(Errno::IO) => return Progress::Over,
                Ok(count) => &buffer[..count],
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Progress::Idle,
                Err(_) => return Progress::Over,
            };
            while !data.is_empty() {
                match rustix::io::write(&self.to, data) {
                    Ok(count) => data = &data[count..],
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        self.rest = data.to_vec();
                        return Progress::Busy;
                    }
                    Err(_) => return Progress::Over,
                }
            }
        }
        Progress::Busy
    }

    /// Waits for one end only: the other would wake us in vain, for good when it has hung up.
    fn watch(&mut self, poller: &Poller, number: u32, wanted: Watched) -> Result<()> {
        if self.watched == wanted {
            return Ok(());
        }
        match self.watched {
            Watched::From => poller.remove(self.from.as_fd()),
            Watched::To => poller.remove(self.to.as_fd()),
            Watched::Nothing => {}
        }
        let added = match wanted {
            Watched::From => poller.add(&self.from, Key::CopyFrom(number), Interest::Read),
            Watched::To => poller.add(&self.to, Key::CopyTo(number), Interest::Write),
            Watched::Nothing => Ok(()),
        };
        self.watched = wanted;
        match added {
            // A regular file is always ready, and epoll refuses it: the target sets the pace.
            Err(Errno::PERM) if wanted == Watched::From => {
                self.watched = Watched::To;
                poller.add(&self.to, Key::CopyTo(number), Interest::Write)
            }
            added => added,
        }
    }
}
