//! A daemon's connection.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use stowd_api::ttrpc::{Incoming, ServerConnection};

use crate::poller::{Interest, Key, Poller};

/// The most that is read at once: more than any usual request.
const CHUNK: usize = 16 << 10;

/// A daemon's connection, with what was not yet written to it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    number: u32,
    /// The protocol: calls come out of it, answers go in.
    pub(crate) ttrpc: ServerConnection,
    interest: Interest,
}

/// Whether a connection can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Open,
    Closed,
}

impl Connection {
    /// Takes an accepted, non-blocking socket.
    pub(crate) fn new(poller: &Poller, number: u32, socket: OwnedFd) -> Result<Connection> {
        poller.add(&socket, Key::Connection(number), Interest::Read)?;
        let ttrpc = ServerConnection::new();
        Ok(Connection { socket, number, ttrpc, interest: Interest::Read })
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) -> Condition {
        let mut chunk = [0; CHUNK];
        loop {
            match rustix::io::read(&self.socket, &mut chunk) {
                Ok(0) => return Condition::Closed,
                Ok(count) => self.ttrpc.received(&chunk[..count]),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Condition::Open,
                Err(_) => return Condition::Closed,
            }
            // A short read emptied the socket; epoll tells when there is more.
            return Condition::Open;
        }
    }

    /// Takes the next whole call out.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        self.ttrpc.next()
    }

    /// Writes what the socket takes; the rest when there is room.
    pub(crate) fn write(&mut self, poller: &Poller) -> Condition {
        while !self.ttrpc.output().is_empty() {
            match rustix::net::send(&self.socket, self.ttrpc.output(), NO_SIGNAL) {
                Ok(count) => self.ttrpc.wrote(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Condition::Closed,
            }
        }
        let wanted = match self.ttrpc.output().is_empty() {
            true => Interest::Read,
            false => Interest::Both,
        };
        if wanted != self.interest {
            self.interest = wanted;
            if poller.change(&self.socket, Key::Connection(self.number), wanted).is_err() {
                return Condition::Closed;
            }
        }
        Condition::Open
    }
}

const NO_SIGNAL: rustix::net::SendFlags = rustix::net::SendFlags::NOSIGNAL;
