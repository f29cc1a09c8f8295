//! An OCI runtime as a library: it creates, starts, enters, signals and deletes Linux containers as
//! the OCI runtime specification describes them, with runc's habits where that leaves room. It
//! knows nothing of containerd.
//!
//! # A container's life
//!
//! ```no_run
//! use stowd_oci_runtime::{CreateOptions, Delete, Driver, ExecOptions, Runtime, Stdio, spec};
//! # fn main() -> Result<(), stowd_oci_runtime::Error> {
//! let runtime = Runtime::new("/run/containerd/runc/default", Driver::Cgroupfs);
//! let mut options = CreateOptions::new("web", "/run/bundles/web"); // reads config.json there
//! options.stdio = Stdio::Fds { stdin: None, stdout: None, stderr: None };
//! let created = runtime.create(options)?; // init is inside, and waits
//! let mut container = created.container;
//! container.start()?; // its program runs
//! let process = spec::Process { args: vec!["ps".into()], cwd: "/".into(), ..Default::default() };
//! let exec = container.exec(ExecOptions::new(process))?; // runs at once
//! // ... poll `container.pidfd()` and `exec.pidfd`, waitpid for both, then:
//! container.delete(Delete::Stopped)?;
//! # Ok(()) }
//! ```
//!
//! # Who owns what
//!
//! - **Children are the caller's.** Init and exec processes are direct children of the calling
//!   process, reported by `SIGCHLD` and a pidfd; the caller reaps them. The library waits only for
//!   short-lived helpers of its own (hooks, an intermediate process for some user namespaces, an
//!   init that failed during `create`), by pid, before the call returns. A caller that reaps with
//!   `waitpid(-1)` must not do so on another thread meanwhile.
//! - **The calling process is not changed**: not its namespaces, working directory, umask, signal
//!   mask, dumpable flag or OOM score. (The pid namespace *for children* is switched around a
//!   clone when one is joined, and back.)
//! - **Threads:** made for a single-threaded caller. What runs in the child before `execve` neither
//!   allocates nor takes locks, so a multi-threaded caller works too.
//! - **State** is one directory per container under the root with `state.json` (runc's field
//!   names) and, until it is started, `exec.fifo`, through which any process can start it.
//! - **The session leader, the terminal:** a process with [`Stdio::Terminal`] leads a session of
//!   its own with the new pseudo-terminal as controlling one. Resize it with
//!   `rustix::termios::tcsetwinsize` on the master.
//!
//! # What cannot be done
//!
//! Where the kernel refuses something that only tunes the process (lowering `oom_score_adj`,
//! raising a hard limit without `CAP_SYS_RESOURCE`), the container starts nevertheless and the
//! result carries a warning line. Everything that isolates fails the call instead.

mod capabilities;
mod child;
mod container;
mod create;
mod error;
mod exec;
mod failure;
mod features;
mod hooks;
mod launch;
mod options;
mod plan;
mod runtime;
mod saved;
pub mod spec;
mod state;
mod sync;

pub use container::{Container, Delete};
pub use error::{Error, ErrorKind, Result, StartError, io_text};
pub use features::features;
pub use options::{CreateOptions, Created, ExecOptions, Keyring, Process, RootSwitch, Stdio};
pub use runtime::Runtime;
pub use rustix::process::Pid;
pub use state::{State, Status};
pub use stowd_cgroups::{Cgroup, Driver};
