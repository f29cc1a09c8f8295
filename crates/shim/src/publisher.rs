//! Events on their way to the daemon.
//!
//! One at a time, each answered before the next goes, so that they arrive in order. While the
//! daemon is away they wait, and the connection is tried again every second at the same path, where
//! a restarted daemon listens.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use stowd_api::services::events::ttrpc::v1::{ForwardRequest, events_names};
use stowd_api::status::Code;
use stowd_api::ttrpc::{ClientConnection, KeyValue};
use stowd_api::types::Envelope;
use stowd_api::{Any, Message, Name};

use crate::poller::{Interest, Key, Poller};
use crate::{clock, log};

/// How long until the daemon is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The most events that wait: some megabytes. Beyond that the oldest are given up.
const MOST: usize = 16 << 10;

/// The daemon must answer in this time, or the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// The queue of events, and the connection they leave by.
#[derive(Debug)]
pub(crate) struct Publisher {
    address: String,
    namespace: String,
    queue: VecDeque<Bytes>,
    connection: Option<Connection>,
    retry: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    ttrpc: ClientConnection,
    /// The stream and the deadline of the event that is out.
    waiting: Option<(u32, Instant)>,
    interest: Interest,
}

impl Publisher {
    /// Makes one for the ttrpc socket at `address`; without an address events are dropped.
    pub(crate) fn new(address: &str, namespace: &str) -> Publisher {
        let address = address.strip_prefix("unix://").unwrap_or(address).to_owned();
        let namespace = namespace.to_owned();
        Publisher { address, namespace, queue: VecDeque::new(), connection: None, retry: None }
    }

    /// Queues an event.
    pub(crate) fn push<M: Message + Name>(&mut self, topic: &str, event: &M) {
        if self.address.is_empty() {
            return;
        }
        if self.queue.len() == MOST {
            self.queue.pop_front();
            log::warn("gave up the oldest unsent event", &[]);
        }
        let envelope = Envelope {
            timestamp: Some(clock::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(Any::pack(event)),
        };
        let request = ForwardRequest { envelope: Some(envelope) };
        self.queue.push_back(request.encode_to_vec().into());
    }

    /// Whether everything has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When [`Publisher::advance`] is due though nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.connection {
            Some(connection) => connection.waiting.map(|(_, deadline)| deadline),
            None if self.queue.is_empty() => None,
            None => self.retry,
        }
    }

    /// Does what can be done now: connect, send, take answers.
    pub(crate) fn advance(&mut self, poller: &Poller) {
        if self.queue.is_empty() && self.connection.is_none() {
            return;
        }
        let now = Instant::now();
        if self.connection.is_none() {
            if self.retry.is_some_and(|retry| now < retry) {
                return;
            }
            match connect(&self.address, poller) {
                Ok(connection) => {
                    if self.retry.take().is_some() {
                        log::info("the daemon is back", &[("events", &self.queue.len())]);
                    }
                    self.connection = Some(connection);
                }
                Err(error) => {
                    if self.retry.is_none() {
                        log::warn("events wait for the daemon", &[("error", &error)]);
                    }
                    self.retry = Some(now + PAUSE);
                    return;
                }
            }
        }
        if self.exchange(poller, now).is_err() {
            // Dropping the socket, which nobody else has, also takes it off the poller.
            self.connection = None;
            self.retry = Some(now + if self.queue.is_empty() { Duration::ZERO } else { PAUSE });
        }
    }

    fn exchange(&mut self, poller: &Poller, now: Instant) -> Result<(), Errno> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.read()?;
        while let Some((stream, answer)) = connection.ttrpc.next() {
            if connection.waiting.is_none_or(|(waiting, _)| waiting != stream) {
                continue;
            }
            connection.waiting = None;
            match answer {
                Err(status) if status.code == Code::Unavailable as i32 => return Err(Errno::AGAIN),
                Err(status) => {
                    log::warn("the daemon refused an event", &[("error", &status)]);
                    self.queue.pop_front();
                }
                Ok(_) => drop(self.queue.pop_front()),
            }
        }
        if connection.waiting.is_some_and(|(_, deadline)| deadline <= now) {
            return Err(Errno::TIMEDOUT);
        }
        if connection.waiting.is_none()
            && let Some(event) = self.queue.front()
        {
            let metadata = vec![KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: self.namespace.clone(),
            }];
            let sent = connection.ttrpc.call_encoded(
                events_names::SERVICE,
                events_names::FORWARD,
                event.clone(),
                Some(PATIENCE),
                metadata,
            );
            match sent {
                Ok(stream) => connection.waiting = Some((stream, now + PATIENCE)),
                // Too long, or this connection's numbers are used up.
                Err(_) => return Err(Errno::OVERFLOW),
            }
        }
        connection.write(poller)
    }
}

impl Connection {
    fn read(&mut self) -> Result<(), Errno> {
        let mut chunk = [0; 1024];
        loop {
            match rustix::io::read(&self.socket, &mut chunk) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(count) => self.ttrpc.received(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, poller: &Poller) -> Result<(), Errno> {
        while !self.ttrpc.output().is_empty() {
            match rustix::net::send(&self.socket, self.ttrpc.output(), SendFlags::NOSIGNAL) {
                Ok(count) => self.ttrpc.wrote(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        let wanted = match self.ttrpc.output().is_empty() {
            true => Interest::Read,
            false => Interest::Both,
        };
        if wanted != self.interest {
            self.interest = wanted;
            poller.change(&self.socket, Key::Publisher, wanted)?;
        }
        Ok(())
    }
}

fn connect(address: &str, poller: &Poller) -> Result<Connection, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // On unix sockets this is done at once or fails, with EAGAIN when the daemon is swamped.
    rustix::net::connect(&socket, &SocketAddrUnix::new(address)?)?;
    poller.add(&socket, Key::Publisher, Interest::Read)?;
    let ttrpc = ClientConnection::new();
    Ok(Connection { socket, ttrpc, waiting: None, interest: Interest::Read })
}
