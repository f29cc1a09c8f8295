//! The shim: the process between a daemon and a container (or the containers of one pod). It is
//! the containers' parent and outlives the daemon, so that neither a crash nor an upgrade of that
//! stops them or loses how they ended.
//!
//! One thread, one epoll loop (module `serve`): calls of the task service over ttrpc, children's exits
//! by `signalfd`, terminals and fifos, out-of-memory events, and events on their way to the daemon.
//! The OCI runtime is linked in, so that a container starts without another program; where options
//! name a runtime that is one, that is run.
//!
//! # How it comes to life
//!
//! - `serve`: stowd's daemon binds the socket, hands it over as descriptor 3, and can connect and
//!   send its first call at once, before this program has even been loaded.
//! - `start`: what containerd runs. It binds the socket where containerd expects it, starts `serve`
//!   in the background, and prints where that listens. A container that belongs to a pod whose shim
//!   listens already is sent there.
//! - `delete`: run in the bundle of a container whose shim has died; clears away what is left.
//!
//! # Order
//!
//! Calls are answered one after the other, and exits are taken between calls: nothing can end
//! before its start has been answered and told. An init's exit is told when all processes that were
//! started inside it have been told of. Exits stay until the process is deleted.
//!
//! # Deliberately absent
//!
//! Threads, async, timers but for retries, files that nobody reads.

mod bootstrap;
mod clock;
mod command;
mod connection;
mod container;
mod copier;
mod create;
mod engine;
mod failure;
mod log;
mod logger;
mod options;
mod poller;
mod program;
mod publisher;
mod serve;
mod service;
mod stats;
mod stdio;

pub use command::{Action, Arguments};

/// Does what the command line says. Whatever goes wrong is for standard error.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    match arguments.action {
        Action::Version => bootstrap::version(),
        Action::Info => bootstrap::info(),
        Action::Start => bootstrap::start(arguments),
        Action::Delete => bootstrap::delete(arguments),
        Action::Serve => serve::serve(arguments),
    }
}
