//! Tasks: containers that run.
//!
//! # Lifecycle
//!
//! ```text
//! create -> Created --start--> Running <--pause/resume--> Paused
//!                      |          |
//!                      +--------->+--process exits--> Stopped --delete--> (nothing)
//! exec   -> an exec process of a running task, with the same lifecycle below its task
//! ```
//!
//! A task has the id of its container, in the container's namespace. Its first process is the
//! *init*, addressed by an empty exec id; further processes have exec ids. The order
//! create < start < exit < delete holds for each process and for the events that tell of it:
//! exactly one exit is reported for each process that was ever started.
//!
//! Between create and start the process exists (it has a pid) but runs nothing of the image.
//! A process's exit status is kept until delete, which returns it; 128 + n means killed by
//! signal n, 255 that it could not be learnt.
//!
//! A task whose container names a sandbox that is on record ([`crate::sandboxes`]) is made in that
//! sandbox's shim and ends with it; a name without a record groups containers at most.
//!
//! # Errors
//!
//! `NotFound`: no such container, task, exec or process (also: kill of one that has finished;
//! create in a sandbox that has no instance).
//! `AlreadyExists`: create of a task or exec that exists. `FailedPrecondition`: start of a started
//! process, delete of a running one, exec in one that is not running, an impossible pause or
//! resume. `Unavailable`, `DeadlineExceeded`: the shim did not answer in time.

use std::borrow::Cow;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{Adaptor, Filters};
use crate::mount::Mount;
use crate::{Any, Descriptor, Result, Scope};

/// What a process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nobody knows: its shim does not answer.
    #[default]
    Unknown,
    /// Made but not started.
    Created,
    /// Running.
    Running,
    /// Finished; its status waits for delete.
    Stopped,
    /// Frozen.
    Paused,
    /// Being frozen.
    Pausing,
}

/// Where a process's standard streams lead.
///
/// Each is empty (nowhere), a path of a fifo, or a URI `fifo://`, `file://`, `binary://`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Standard input.
    pub stdin: String,
    /// Standard output; all output when there is a terminal.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The process gets a terminal.
    pub terminal: bool,
}

/// A task to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// The container.
    pub container_id: String,
    /// The root file system's mounts.
    pub rootfs: Vec<Mount>,
    /// Its streams.
    pub stdio: Stdio,
    /// A checkpoint to restore from.
    pub checkpoint: Option<Descriptor>,
    /// Options for the shim; those of the container when empty.
    pub options: Option<Any>,
    /// The shim's program, instead of the one that the runtime's name implies; may be empty.
    pub runtime_path: String,
    /// Where the task service of its container's sandbox listens, as
    /// `ttrpc+unix:///path`; empty to leave that to the sandbox's controller.
    pub sandbox_address: String,
    /// The version of that service.
    pub sandbox_version: u32,
}

/// A further process to make in a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The task.
    pub container_id: String,
    /// The new process's id.
    pub exec_id: String,
    /// Its streams.
    pub stdio: Stdio,
    /// The OCI process, in JSON.
    pub spec: Option<Any>,
}

/// A process as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The task.
    pub container_id: String,
    /// The exec id; empty for the init.
    pub exec_id: String,
    /// Its pid on the host; 0 before it has one.
    pub pid: u32,
    /// What it is doing.
    pub status: Status,
    /// Its streams.
    pub stdio: Stdio,
    /// How it ended, when it is stopped.
    pub exit: Option<Exit>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process.
    pub pid: u32,
    /// Its status: the exit code, or 128 + signal.
    pub status: u32,
    /// When.
    pub at: SystemTime,
}

/// A process that belongs to a task, whoever started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid on the host.
    pub pid: u32,
    /// What the runtime knows of it, such as its exec id.
    pub info: Option<Any>,
}

/// One measurement of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The task.
    pub id: String,
    /// When it was taken.
    pub at: SystemTime,
    /// The numbers: `io.containerd.cgroups.v1.Metrics` or `…v2.Metrics`.
    pub data: Any,
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// The one process.
    #[default]
    Process,
    /// All processes of the task.
    All,
}

/// Runs containers. An empty `exec_id` means the task's init.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Makes a container's task and returns the init's pid.
    async fn create(&self, scope: &Scope, create: Create) -> Result<u32>;

    /// Starts a created process and returns its pid.
    async fn start(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<u32>;

    /// Removes a stopped task and all that belongs to it, or with an exec id a stopped exec.
    async fn delete(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Exit>;

    /// Returns a process as it stands.
    async fn get(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Process>;

    /// Lists the inits of the namespace's tasks.
    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Process>>;

    /// Sends a signal.
    async fn kill(
        &self,
        scope: &Scope,
        container_id: &str,
        exec_id: &str,
        signal: u32,
        reach: Reach,
    ) -> Result<()>;

    /// Makes a further process, to be started with [`start`](Self::start).
    async fn exec(&self, scope: &Scope, exec: Exec) -> Result<()>;

    /// Sets the size of a process's terminal, in characters.
    async fn resize(
        &self,
        scope: &Scope,
        container_id: &str,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<()>;

    /// Closes a process's standard input.
    async fn close_stdin(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<()>;

    /// Freezes all processes of a task.
    async fn pause(&self, scope: &Scope, container_id: &str) -> Result<()>;

    /// Thaws them.
    async fn resume(&self, scope: &Scope, container_id: &str) -> Result<()>;

    /// Lists the pids of a task.
    async fn pids(&self, scope: &Scope, container_id: &str) -> Result<Vec<ProcessInfo>>;

    /// Changes a task's limits (OCI `LinuxResources`, in JSON).
    async fn update(
        &self,
        scope: &Scope,
        container_id: &str,
        resources: Any,
        annotations: crate::Labels,
    ) -> Result<()>;

    /// Measures tasks.
    async fn metrics(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Metric>>;

    /// Waits until a process has finished.
    async fn wait(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Exit>;
}

impl Adaptor for Process {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(self.container_id.as_str().into()),
            _ => None,
        }
    }
}

impl Adaptor for Metric {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(self.id.as_str().into()),
            _ => None,
        }
    }
}
