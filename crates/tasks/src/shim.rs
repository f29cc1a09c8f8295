//! A shim: the connection to it, its process, and whose tasks it holds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use stowd_api::task::{v2, v3};
use stowd_api::ttrpc::Client;
use stowd_api::{Message, status};
use stowd_core::{Error, ErrorKind, Namespace, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::address::Bootstrap;
use crate::task::Task;

use stowd_api::runtime::sandbox::v1::{PingRequest, PingResponse};

pub(crate) use stowd_api::runtime::sandbox::v1::sandbox_names as sandbox_methods;
pub(crate) use stowd_api::task::v3::task_names as methods;

/// A shim that is connected to.
pub(crate) struct Shim {
    /// Where it listens.
    pub(crate) bootstrap: Bootstrap,
    client: Client,
    /// Speaks version 2, whatever it said.
    old: AtomicBool,
    /// It belongs to a sandbox that somebody else keeps.
    guest: AtomicBool,
    process: OnceLock<Process>,
    holding: Mutex<Holding>,
    /// Its process is over, and its socket's name is free.
    released: watch::Sender<bool>,
}

/// What a shim holds.
#[derive(Default)]
struct Holding {
    tasks: BTreeMap<String, Arc<Task>>,
    /// It was told to go, or is gone: nobody may join it any more.
    over: bool,
}

/// A shim's process.
pub(crate) struct Process {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
    parent: Parent,
}

/// Who waits for a shim's process when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// We do: it is our child.
    Us,
    /// Somebody else.
    Other,
}

impl Shim {
    /// Takes a connected stream.
    pub(crate) fn new(bootstrap: Bootstrap, stream: UnixStream, namespace: &Namespace) -> Self {
        let client =
            Client::new(stream).with_metadata("containerd-namespace-ttrpc", namespace.as_str());
        Self {
            old: AtomicBool::new(bootstrap.version < 3),
            bootstrap,
            client,
            guest: AtomicBool::new(false),
            process: OnceLock::new(),
            holding: Mutex::default(),
            released: watch::Sender::new(false),
        }
    }

    /// Calls a method of the task service.
    ///
    /// # Errors
    /// The shim's; `Unavailable` when it is gone, `DeadlineExceeded` when it does not answer.
    pub(crate) async fn call<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<R> {
        let service = match self.old.load(Ordering::Relaxed) {
            true => v2::task_names::SERVICE,
            false => v3::task_names::SERVICE,
        };
        let answer = self.client.call(service, method, request, timeout).await;
        answer.map_err(|status| status::from_ttrpc(&status))
    }

    /// Calls a method of the sandbox service.
    ///
    /// # Errors
    /// As [`call`](Self::call); `NotImplemented` when it keeps no sandboxes.
    pub(crate) async fn call_sandbox<R: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<R> {
        let answer = self.client.call(sandbox_methods::SERVICE, method, request, timeout).await;
        answer.map_err(|status| status::from_ttrpc(&status))
    }

    /// Says whether it answers for a sandbox at all, be it with an error.
    pub(crate) async fn ping(&self, id: &str, timeout: Duration) -> Result<()> {
        let request = PingRequest { sandbox_id: id.to_owned() };
        let asked = self.call_sandbox::<PingResponse>(
            sandbox_methods::PING_SANDBOX,
            &request,
            Some(timeout),
        );
        match asked.await {
            Err(error)
                if error.is(ErrorKind::Unavailable) || error.is(ErrorKind::DeadlineExceeded) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Notes that it belongs to a sandbox that somebody else keeps: it is not ours to end.
    pub(crate) fn set_guest(&self) {
        self.guest.store(true, Ordering::Relaxed);
    }

    /// Says whether it belongs to a sandbox that somebody else keeps.
    pub(crate) fn is_guest(&self) -> bool {
        self.guest.load(Ordering::Relaxed)
    }

    /// Asks for the pids of the shim and of a task's init. A shim that speaks an older version than
    /// it said is spoken to in that from now on.
    pub(crate) async fn connect(&self, id: &str, timeout: Duration) -> Result<v3::ConnectResponse> {
        let request = v3::ConnectRequest { id: id.to_owned() };
        match self.call(methods::CONNECT, &request, Some(timeout)).await {
            Err(error) if error.is(ErrorKind::NotImplemented) => {
                self.old.store(true, Ordering::Relaxed);
                self.call(methods::CONNECT, &request, Some(timeout)).await
            }
            answer => answer,
        }
    }

    /// Sets its process, once.
    pub(crate) fn set_process(&self, process: Process) {
        let _ = self.process.set(process);
    }

    /// Returns its process's pid, where that is known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.get().map(|process| process.pid)
    }

    /// Says whether its process is our child.
    pub(crate) fn is_child(&self) -> bool {
        self.process.get().is_some_and(|process| process.parent == Parent::Us)
    }

    /// Lets a task in, unless the shim is about to go.
    pub(crate) fn join(&self, task: &Arc<Task>) -> bool {
        let mut holding = self.holding();
        if holding.over || self.is_gone() {
            return false;
        }
        holding.tasks.insert(task.id.clone(), task.clone());
        true
    }

    /// Lets a task out. Says whether it was the last: then nobody joins any more.
    pub(crate) fn leave(&self, id: &str) -> bool {
        let mut holding = self.holding();
        let left = holding.tasks.remove(id).is_some();
        if left && holding.tasks.is_empty() {
            holding.over = true;
        }
        left && holding.over
    }

    /// Waits until it is gone; then nobody joins any more. Returns the tasks that it still held.
    pub(crate) async fn gone(&self) -> Vec<Arc<Task>> {
        let process = async {
            match self.process.get() {
                Some(process) => process.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.client.closed() => {}
            () = process => self.client.close(),
        }
        let mut holding = self.holding();
        holding.over = true;
        std::mem::take(&mut holding.tasks).into_values().collect()
    }

    /// Says whether it cannot be spoken to any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks it to end, and waits for its answer.
    pub(crate) async fn shut_down(&self, id: &str, patience: Duration) {
        let request = v3::ShutdownRequest { id: id.to_owned(), now: false };
        let asked = self.call::<()>(methods::SHUTDOWN, &request, Some(patience)).await;
        match asked {
            Ok(()) => {}
            Err(error) if error.is(ErrorKind::Unavailable) => {}
            Err(error) => tracing::warn!(%error, id, "a shim did not shut down"),
        }
    }

    /// Frees its socket's name; the last that happens to it.
    pub(crate) fn release(&self) {
        if !self.is_guest()
            && let Some(socket) = self.bootstrap.socket()
        {
            let _ = std::fs::remove_file(socket);
        }
        self.released.send_replace(true);
    }

    /// Waits until another shim may have its socket's name: it removes that itself when it ends.
    /// Says whether it was in time.
    pub(crate) async fn released(&self, patience: Duration) -> bool {
        let mut released = self.released.subscribe();
        let freed = released.wait_for(|released| *released);
        tokio::time::timeout(patience, freed).await.is_ok()
    }

    /// Sees its process off after the connection ended: waits for it, kills it if need be.
    pub(crate) async fn see_off(&self, patience: Duration) {
        let Some(process) = self.process.get() else { return };
        match tokio::time::timeout(patience, process.ended()).await {
            Ok(()) => process.reap(),
            Err(_) => process.end(patience).await,
        }
    }

    /// Kills it when it let a call's time run out and does not answer the simplest question, `probe`,
    /// either. What it holds is buried then.
    pub(crate) async fn kill_if_hung<T, P>(
        &self,
        id: &str,
        method: &str,
        answer: &Result<T>,
        probe: impl Future<Output = Result<P>>,
    ) {
        let ran_out = |error: &Error| error.is(ErrorKind::DeadlineExceeded);
        if answer.as_ref().is_err_and(ran_out) && probe.await.as_ref().is_err_and(ran_out) {
            tracing::warn!(id, method, shim = self.pid(), "a shim hangs: killing it");
            self.kill();
        }
    }

    /// Kills it, or at least lets go of it.
    pub(crate) fn kill(&self) {
        if let Some(process) = self.process.get() {
            process.kill();
        }
        self.client.close();
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Takes a process by its pidfd. Must be called in a tokio runtime.
    pub(crate) fn new(pid: u32, fd: OwnedFd, parent: Parent) -> Result<Self> {
        #[allow(
            deprecated,
            reason = "meant for types that give up their descriptor; this keeps it"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)
            .map_err(|error| Error::io("watch the shim's process", &error))?;
        Ok(Self { pid, fd, parent })
    }

    /// Finds a process by its pid.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Self::new(pid, pidfd_open(id, PidfdFlags::empty()).ok()?, Parent::Other).ok()
    }

    /// Kills it and waits for its end.
    pub(crate) async fn end(&self, patience: Duration) {
        self.kill();
        // Not even that helps while the kernel is stuck with it.
        let _ = tokio::time::timeout(patience, self.ended()).await;
        self.reap();
    }

    async fn ended(&self) {
        // A pidfd is readable from the process's end on; it is never read.
        if self.fd.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn kill(&self) {
        let _ = pidfd_send_signal(self.fd.get_ref(), Signal::KILL);
    }

    fn reap(&self) {
        if self.parent == Parent::Us {
            use std::os::fd::AsFd as _;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::PidFd(self.fd.get_ref().as_fd()), options);
        }
    }
}
