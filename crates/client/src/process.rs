//! Tasks and their processes.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stowd_core::filters::Filters;
use stowd_core::tasks::{self, Exit, Metric, ProcessInfo, Reach, Status, Tasks as _};
use stowd_core::{Any, Error, Labels, Result};
use stowd_proxy::tasks::Tasks;
use tokio::sync::{Mutex, watch};

use crate::streams::{Connected, Ended};
use crate::{Client, Io};

/// How the JSON of a process is named.
pub(crate) const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Which signal ends a process for sure.
const SIGKILL: u32 = 9;

/// A process of a container: its init, or one made by [`Task::exec`].
#[derive(Clone, Debug)]
pub struct Process {
    client: Client,
    container: String,
    exec_id: String,
    pid: u32,
    state: Arc<State>,
}

/// What the handles of one process share.
#[derive(Debug)]
struct State {
    connected: Mutex<Connected>,
    /// It was started, so that its input can be read.
    started: watch::Sender<bool>,
    /// It was seen to have finished, which never changes again.
    finished: AtomicBool,
}

/// A container's task, which is its init [`Process`] and all that runs beside it.
#[derive(Clone, Debug)]
pub struct Task(Process);

impl Process {
    /// Makes the handle of a process that was just made.
    pub(crate) fn new(
        client: &Client,
        container: &str,
        exec_id: &str,
        pid: u32,
        mut connected: Connected,
    ) -> Self {
        let (started, _) = watch::channel(false);
        if let Some(mut input) = connected.take_input() {
            let (tasks, scope) = (client.connection().tasks(), client.scope().clone());
            let (container, exec_id) = (container.to_owned(), exec_id.to_owned());
            let mut begun = started.subscribe();
            connected.keep(async move {
                // Nothing is taken from our own input for a process that never starts, and the
                // shim knows of an end only once it has opened the fifo.
                if begun.wait_for(|begun| *begun).await.is_err() {
                    return;
                }
                if input.copy().await == Ended::ByItself {
                    // It may have finished meanwhile, which is as good.
                    let _ = tasks.close_stdin(&scope, &container, &exec_id).await;
                }
            });
        }
        let (container, exec_id) = (container.to_owned(), exec_id.to_owned());
        let connected = Mutex::new(connected);
        let state = Arc::new(State { connected, started, finished: AtomicBool::new(false) });
        Self { client: client.clone(), container, exec_id, pid, state }
    }

    /// Makes the handle of a process that somebody else has made and started.
    pub(crate) fn found(
        client: &Client,
        container: &str,
        exec_id: &str,
        pid: u32,
        connected: Connected,
    ) -> Self {
        let found = Self::new(client, container, exec_id, pid, connected);
        found.state.started.send_replace(true);
        found
    }

    fn tasks(&self) -> Tasks {
        self.client.connection().tasks()
    }

    /// Returns the container's id.
    pub fn container_id(&self) -> &str {
        &self.container
    }

    /// Returns the exec id; empty for the init.
    pub fn exec_id(&self) -> &str {
        &self.exec_id
    }

    /// Returns the init's pid on the host; 0 for an exec, until [`start`](Self::start) tells it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts it and returns its pid.
    ///
    /// # Errors
    /// `NotFound` when the program is not there, and others of the runtime.
    pub async fn start(&self) -> Result<u32> {
        let pid = self.tasks().start(self.client.scope(), &self.container, &self.exec_id).await?;
        self.state.started.send_replace(true);
        Ok(pid)
    }

    /// Waits until it has finished.
    ///
    /// # Errors
    /// `NotFound` when it was deleted, `Unavailable` when the daemon went away.
    pub async fn wait(&self) -> Result<Exit> {
        let exit = self.tasks().wait(self.client.scope(), &self.container, &self.exec_id).await?;
        self.state.finished.store(true, Ordering::Relaxed);
        Ok(exit)
    }

    /// Asks what it is doing.
    ///
    /// # Errors
    /// `NotFound` when it was deleted.
    pub async fn status(&self) -> Result<Status> {
        let tasks = self.tasks();
        Ok(tasks.get(self.client.scope(), &self.container, &self.exec_id).await?.status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn kill(&self, signal: u32) -> Result<()> {
        self.signal(signal, Reach::Process).await
    }

    pub(crate) async fn signal(&self, signal: u32, reach: Reach) -> Result<()> {
        let tasks = self.tasks();
        tasks.kill(self.client.scope(), &self.container, &self.exec_id, signal, reach).await
    }

    /// Sets the size of its terminal, in characters.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let tasks = self.tasks();
        tasks.resize(self.client.scope(), &self.container, &self.exec_id, width, height).await
    }

    /// Closes its standard input.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn close_stdin(&self) -> Result<()> {
        self.tasks().close_stdin(self.client.scope(), &self.container, &self.exec_id).await
    }

    /// Waits until all that it wrote has been copied to the streams that it is connected with.
    pub async fn output_ended(&self) {
        self.state.connected.lock().await.output_ended().await;
    }

    /// Deletes it once it has finished: waits for its output, removes its fifos, returns how it
    /// ended.
    ///
    /// # Errors
    /// `FailedPrecondition` while it runs, `NotFound` when it was deleted.
    pub async fn delete(&self) -> Result<Exit> {
        let finished = self.state.finished.load(Ordering::Relaxed);
        let status = if finished { Status::Stopped } else { self.status().await? };
        if matches!(status, Status::Running | Status::Paused | Status::Pausing) {
            let state = words(status);
            return Err(Error::failed_precondition(if self.exec_id.is_empty() {
                format!("task must be stopped before deletion: {state}")
            } else {
                format!("current process state: {state}, process must be stopped before deletion")
            }));
        }
        if status == Status::Stopped {
            self.output_ended().await;
        }
        let exit = self.tasks().delete(self.client.scope(), &self.container, &self.exec_id).await?;
        self.state.connected.lock().await.remove();
        Ok(exit)
    }

    /// Kills it if it still runs, and deletes it.
    ///
    /// # Errors
    /// `NotFound` when it was deleted.
    pub async fn kill_and_delete(&self) -> Result<Exit> {
        let finished = self.state.finished.load(Ordering::Relaxed);
        let status = if finished { Status::Stopped } else { self.status().await? };
        if status == Status::Stopped {
            return self.delete().await;
        }
        let reach = if self.exec_id.is_empty() { Reach::All } else { Reach::Process };
        let killed = self.signal(SIGKILL, reach).await;
        if status == Status::Created {
            // A runtime may refuse to reach all of a task that was never started; deleting it is
            // enough then.
            let tasks = self.tasks();
            let exit = tasks.delete(self.client.scope(), &self.container, &self.exec_id).await?;
            self.state.connected.lock().await.remove();
            return Ok(exit);
        }
        match killed {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        if matches!(status, Status::Paused | Status::Pausing) {
            // A frozen process hears of the signal when it thaws; some kernels do not wait for that.
            let _ = self.tasks().resume(self.client.scope(), &self.container).await;
        }
        self.wait().await?;
        self.delete().await
    }
}

/// containerd's word for a status.
fn words(status: Status) -> &'static str {
    match status {
        Status::Unknown => "unknown",
        Status::Created => "created",
        Status::Running => "running",
        Status::Stopped => "stopped",
        Status::Paused => "paused",
        Status::Pausing => "pausing",
    }
}

impl Deref for Task {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl Task {
    pub(crate) fn new(init: Process) -> Self {
        Self(init)
    }

    /// Makes a further process, to be started by [`Process::start`].
    ///
    /// # Errors
    /// `AlreadyExists` when the exec id is in use, `FailedPrecondition` when the task does not run.
    pub async fn exec(&self, exec_id: &str, spec: &stowd_spec::Process, io: Io) -> Result<Process> {
        let json = serde_json::to_vec(spec)
            .map_err(|error| Error::invalid(format_args!("process: {error}")))?;
        let mut connected = Connected::new(io, exec_id)?;
        let exec = tasks::Exec {
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
            stdio: connected.stdio().clone(),
            spec: Some(Any { type_url: PROCESS_TYPE.to_owned(), value: json.into() }),
        };
        match self.tasks().exec(self.client.scope(), exec).await {
            Ok(()) => Ok(Process::new(&self.client, &self.container, exec_id, 0, connected)),
            Err(error) => {
                connected.remove();
                Err(error)
            }
        }
    }

    /// Sends a signal to all its processes.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn kill_all(&self, signal: u32) -> Result<()> {
        self.signal(signal, Reach::All).await
    }

    /// Freezes all its processes.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not run.
    pub async fn pause(&self) -> Result<()> {
        self.tasks().pause(self.client.scope(), &self.container).await
    }

    /// Thaws them.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not frozen.
    pub async fn resume(&self) -> Result<()> {
        self.tasks().resume(self.client.scope(), &self.container).await
    }

    /// Lists the pids of its processes.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn pids(&self) -> Result<Vec<ProcessInfo>> {
        self.tasks().pids(self.client.scope(), &self.container).await
    }

    /// Measures it.
    ///
    /// # Errors
    /// `NotFound` when it has finished.
    pub async fn metrics(&self) -> Result<Metric> {
        let filters = Filters::parse(&[format!("id=={}", self.container)])?;
        let measured = self.tasks().metrics(self.client.scope(), &filters).await?;
        measured
            .into_iter()
            .find(|metric| metric.id == self.container)
            .ok_or_else(|| Error::not_found(format_args!("metrics of task {:?}", self.container)))
    }

    /// Changes its limits: OCI `LinuxResources`.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn update(&self, resources: &stowd_spec::Resources) -> Result<()> {
        let json = serde_json::to_vec(resources)
            .map_err(|error| Error::invalid(format_args!("resources: {error}")))?;
        let type_url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
        let resources = Any { type_url: type_url.to_owned(), value: json.into() };
        self.tasks().update(self.client.scope(), &self.container, resources, Labels::new()).await
    }
}
