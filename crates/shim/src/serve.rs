//! The event loop.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};
use stowd_api::events::TaskOom;
use stowd_api::ttrpc::Incoming;
use stowd_cgroups::{OomEvent, OomEvents};
use stowd_sys::signalfd::SignalFd;

use crate::command::Arguments;
use crate::connection::{Condition, Connection};
use crate::container::{Caller, Container, Exit};
use crate::copier::Copies;
use crate::poller::{Interest, Key, Poller};
use crate::publisher::Publisher;
use crate::service::PendingDelete;
use crate::{clock, log};

/// The descriptor that the listening socket is handed over as.
const LISTENER: i32 = 3;

/// How long a shim that was told to go waits for its last events to arrive.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a shim without containers and without daemons stays: long enough for a daemon that
/// restarts, or that started it and has not called yet.
const LONELY: Duration = Duration::from_secs(60);

/// Everything that a shim holds.
pub(crate) struct Shim {
    pub(crate) namespace: String,
    pub(crate) poller: Poller,
    pub(crate) copies: Copies,
    pub(crate) publisher: Publisher,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) deletes: Vec<PendingDelete>,
    /// Containers that were started in this turn: what can wait is done after the answer.
    pub(crate) started: Vec<String>,
    /// It was told to go.
    pub(crate) leaving: Option<Instant>,
    connections: BTreeMap<u32, Connection>,
    ooms: BTreeMap<u32, (String, OomEvents)>,
    last: u32,
    /// Since when it has neither containers nor connections.
    lonely: Option<Instant>,
}

/// Serves on the inherited socket until told to go.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    let listener = inherit()?;
    let path = socket_path(&listener);
    let done = prepare(arguments, &listener).and_then(|(mut shim, signals)| {
        let done = shim.run(&listener, &signals);
        log::info("shim ends", &[("id", &arguments.id)]);
        done
    });
    if let Some(path) = path {
        let _ = std::fs::remove_file(path);
    }
    done.map_err(|error| format!("serve: {error}"))
}

fn inherit() -> Result<OwnedFd, String> {
    let listener = stowd_sys::inherited::duplicate(LISTENER)
        .map_err(|error| format!("take the listening socket, descriptor {LISTENER}: {error}"))?;
    // No container may inherit the descriptor itself, or another that was forgotten.
    stowd_sys::inherited::close_on_exec_from(LISTENER)
        .map_err(|error| format!("mark descriptors close-on-exec: {error}"))?;
    Ok(listener)
}

fn prepare(arguments: &Arguments, listener: &OwnedFd) -> Result<(Shim, SignalFd), Errno> {
    rustix::io::ioctl_fionbio(listener, true)?;
    if rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| is_fifo(&stat)) {
        // A log that nobody reads must not stop a container.
        let _ = rustix::io::ioctl_fionbio(std::io::stderr(), true);
    }
    // Named as tools know it, whatever the program's file is called.
    let _ = rustix::thread::set_name(c"containerd-shim");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    if let Err(error) = raise_oom_score() {
        log::warn("adjust the OOM score", &[("error", &error)]);
    }
    let wanted = [Signal::CHILD, Signal::TERM, Signal::INT].map(Signal::as_raw);
    let signals = SignalFd::new(&wanted)?;
    let poller = Poller::new()?;
    poller.add(listener, Key::Listener, Interest::Read)?;
    poller.add(&signals, Key::Signals, Interest::Read)?;
    let events = match std::env::var("TTRPC_ADDRESS") {
        Ok(address) if !address.is_empty() => address,
        _ if arguments.address.is_empty() => String::new(),
        _ => format!("{}.ttrpc", arguments.address),
    };
    let shim = Shim {
        namespace: arguments.namespace.clone(),
        poller,
        copies: Copies::default(),
        publisher: Publisher::new(&events, &arguments.namespace),
        containers: BTreeMap::new(),
        deletes: Vec::new(),
        started: Vec::new(),
        leaving: None,
        connections: BTreeMap::new(),
        ooms: BTreeMap::new(),
        last: 0,
        lonely: Some(Instant::now()),
    };
    Ok((shim, signals))
}

impl Shim {
    fn run(&mut self, listener: &OwnedFd, signals: &SignalFd) -> Result<(), Errno> {
        loop {
            let now = Instant::now();
            let timeout = self.deadline().map(|deadline| deadline.saturating_duration_since(now));
            for key in self.poller.wait(timeout)? {
                match key {
                    Key::Listener => self.accept(listener),
                    Key::Signals => self.signals(signals)?,
                    Key::Publisher => {}
                    Key::Connection(number) => self.converse(number),
                    Key::CopyFrom(number) | Key::CopyTo(number) => {
                        self.copies.turn(&self.poller, number);
                    }
                    Key::Oom(number) => self.oom(number),
                }
            }
            self.finish_deletes();
            self.flush();
            self.publisher.advance(&self.poller);
            self.watch_started();
            if self.is_over() {
                return Ok(());
            }
        }
    }

    /// When something is due though nothing came in.
    fn deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let deletes = self.deletes.iter().map(|delete| delete.next_look(now));
        let lonely = self.lonely.map(|since| since + LONELY);
        deletes.chain(self.leaving).chain(lonely).chain(self.publisher.deadline()).min()
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if let Some(deadline) = self.leaving {
            return self.publisher.is_empty() || now >= deadline;
        }
        let idle = self.containers.is_empty() && self.connections.is_empty();
        if !idle || !self.publisher.is_empty() {
            self.lonely = None;
            return false;
        }
        now >= *self.lonely.get_or_insert(now) + LONELY
    }

    /// Remembers that it was told to go.
    pub(crate) fn leave(&mut self) {
        self.leaving = Some(Instant::now() + FAREWELL);
    }

    fn accept(&mut self, listener: &OwnedFd) {
        while let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.last = self.last.wrapping_add(1);
            match Connection::new(&self.poller, self.last, socket) {
                Ok(connection) => drop(self.connections.insert(self.last, connection)),
                Err(error) => log::error("a connection was dropped", &[("error", &error)]),
            }
            // The first call is often there already.
            self.converse(self.last);
        }
    }

    /// Reads from a connection and answers what can be answered at once.
    fn converse(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let condition = connection.read();
        while let Some(incoming) =
            self.connections.get_mut(&number).and_then(|connection| connection.next())
        {
            // No method here streams.
            let Incoming::Call(call) = incoming else { continue };
            let caller = Caller { connection: number, stream: call.stream };
            let answer = self.answer(&call, caller);
            self.respond(caller, answer);
        }
        if condition == Condition::Closed {
            self.connections.remove(&number);
        }
    }

    /// Answers a call. A caller that has gone needs none.
    pub(crate) fn respond(&mut self, caller: Caller, answer: crate::service::Answer) {
        use crate::service::Answer;
        let Some(connection) = self.connections.get_mut(&caller.connection) else { return };
        match answer {
            Answer::Message(message) => connection.ttrpc.reply_encoded(caller.stream, message),
            Answer::Error(status) => connection.ttrpc.refuse(caller.stream, status),
            Answer::Later => {}
        }
    }

    fn flush(&mut self) {
        let poller = &self.poller;
        self.connections.retain(|_, connection| connection.write(poller) == Condition::Open);
    }

    fn signals(&mut self, signals: &SignalFd) -> Result<(), Errno> {
        while let Some(signal) = signals.next()? {
            match signal {
                signal if signal == Signal::CHILD.as_raw() => self.reap()?,
                // As containerd's: whoever stops services on a machine does not mean containers.
                signal => log::info("ignored a signal", &[("signal", &signal)]),
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), Errno> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.exited(pid, &exit(status)),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn watch_started(&mut self) {
        for id in std::mem::take(&mut self.started) {
            let Some(container) = self.containers.get(&id) else { continue };
            let Ok(handle) = container.handle() else { continue };
            // Without a memory controller there is nothing to be told of.
            let Ok(events) = handle.cgroup().oom_events() else { continue };
            self.last = self.last.wrapping_add(1);
            if self.poller.add(events.as_fd(), Key::Oom(self.last), Interest::Read).is_ok() {
                self.ooms.insert(self.last, (id, events));
            }
        }
    }

    fn oom(&mut self, number: u32) {
        let Some((id, events)) = self.ooms.get_mut(&number) else { return };
        match events.read() {
            Ok(OomEvent::Nothing) => {}
            Ok(OomEvent::Oom) => {
                let event = TaskOom { container_id: id.clone() };
                self.publisher.push("/tasks/oom", &event);
            }
            Ok(OomEvent::Removed) | Err(_) => drop(self.ooms.remove(&number)),
        }
    }

    /// Stops watching a container's memory.
    pub(crate) fn forget_oom(&mut self, id: &str) {
        self.ooms.retain(|_, (container, _)| container != id);
    }
}

/// Makes the kernel take the shim rather than the daemon, whose score it has inherited.
fn raise_oom_score() -> std::io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    const HIGHEST: i32 = 1000;
    match std::fs::read_to_string(FILE)?.trim().parse::<i32>() {
        Ok(score) if score < HIGHEST => std::fs::write(FILE, (score + 1).to_string()),
        _ => Ok(()),
    }
}

fn exit(status: WaitStatus) -> Exit {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    Exit { status: code.unsigned_abs(), at: clock::now() }
}

/// Waits for a child that was killed.
pub(crate) fn wait_for(pid: Pid) -> Option<Exit> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Some(exit(status)),
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn is_fifo(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
}

fn socket_path(listener: &OwnedFd) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let address = rustix::net::getsockname(listener.as_fd()).ok()?;
    let address = rustix::net::SocketAddrUnix::try_from(address).ok()?;
    Some(std::ffi::OsString::from_vec(address.path()?.to_bytes().to_vec()).into())
}
