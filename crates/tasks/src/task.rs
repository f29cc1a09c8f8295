//! A task as the manager knows it, and how its processes ended.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use stowd_core::tasks::Exit;
use stowd_core::{Error, ErrorKind, Namespace, Result};
use tokio::sync::watch;

use crate::bundle::{Bundle, Kind};
use crate::shim::Shim;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is being created; nobody may use it.
    Making,
    /// It is from before this daemon, and not yet found; who asks for it waits.
    Missing,
    /// It is there.
    Ready,
    /// It was deleted or buried.
    Gone,
}

/// A task; or a sandbox, which then has one process, its own.
pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) namespace: Namespace,
    pub(crate) id: String,
    pub(crate) bundle: Bundle,
    /// How far it is.
    pub(crate) stage: watch::Sender<Stage>,
    /// Its deletion was told of.
    pub(crate) told_deleted: watch::Sender<bool>,
    /// Held by who deletes it.
    pub(crate) deleting: tokio::sync::Mutex<()>,
    /// The shim's program, for cleaning up.
    pub(crate) program: OnceLock<PathBuf>,
    shim: OnceLock<Arc<Shim>>,
    /// The init, held so that its number cannot come to mean another process.
    init: OnceLock<OwnedFd>,
    ending: AtomicBool,
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
}

/// A process of a task.
#[derive(Default)]
pub(crate) struct Process {
    pid: AtomicU32,
    told: Mutex<Told>,
    exit: watch::Sender<Option<Exit>>,
    asked: Mutex<Option<Asked>>,
}

/// The one question to the shim, shared by all who wait.
type Asked = Shared<BoxFuture<'static, Result<Exit, (ErrorKind, String)>>>;

/// Whether a process's exit was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// Not yet.
    #[default]
    No,
    /// It ended before this daemon started: perhaps the last one told it, perhaps the shim still
    /// will. We do not.
    Perhaps,
    /// Yes: nothing more must be told.
    Yes,
}

impl Task {
    /// Makes a task of which nothing is there yet.
    pub(crate) fn new(
        kind: Kind,
        namespace: Namespace,
        id: String,
        bundle: Bundle,
        stage: Stage,
    ) -> Self {
        Self {
            kind,
            namespace,
            id,
            bundle,
            stage: watch::Sender::new(stage),
            told_deleted: watch::Sender::new(false),
            deleting: tokio::sync::Mutex::default(),
            program: OnceLock::new(),
            shim: OnceLock::new(),
            init: OnceLock::new(),
            ending: AtomicBool::new(false),
            processes: Mutex::default(),
        }
    }

    /// Gives it its shim, once.
    pub(crate) fn set_shim(&self, shim: Arc<Shim>) {
        let _ = self.shim.set(shim);
    }

    /// Returns its shim, if it ever got one.
    pub(crate) fn shim(&self) -> Option<&Arc<Shim>> {
        self.shim.get()
    }

    /// Returns a process, which may be one that only the shim knows, or nobody.
    pub(crate) fn process(&self, exec_id: &str) -> Arc<Process> {
        let mut processes = self.lock();
        if let Some(process) = processes.get(exec_id) {
            return process.clone();
        }
        processes.entry(exec_id.to_owned()).or_default().clone()
    }

    /// Returns a process that was seen before.
    pub(crate) fn known(&self, exec_id: &str) -> Option<Arc<Process>> {
        self.lock().get(exec_id).cloned()
    }

    /// Returns all processes that were seen, the init last.
    pub(crate) fn processes(&self) -> Vec<(String, Arc<Process>)> {
        let mut all: Vec<_> =
            self.lock().iter().map(|(id, process)| (id.clone(), process.clone())).collect();
        // The init's empty id comes first.
        all.reverse();
        all
    }

    /// Forgets an exec.
    pub(crate) fn forget(&self, exec_id: &str) {
        self.lock().remove(exec_id);
    }

    /// Forgets an exec that nobody started.
    pub(crate) fn forget_unstarted(&self, exec_id: &str) {
        let mut processes = self.lock();
        if processes.get(exec_id).is_some_and(|process| process.pid() == 0) {
            processes.remove(exec_id);
        }
    }

    /// Notes the init's pid.
    pub(crate) fn set_init(&self, pid: u32) {
        self.process("").started(pid);
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(fd) = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) {
            let _ = self.init.set(fd);
        }
    }

    /// Kills the init, and with it its pid namespace.
    pub(crate) fn kill_init(&self) {
        if let Some(init) = self.init.get() {
            let _ = pidfd_send_signal(init, Signal::KILL);
        }
    }

    /// Claims the right to end it; only the first who asks gets that.
    pub(crate) fn claim_end(&self) -> bool {
        !self.ending.swap(true, Ordering::AcqRel)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Notes that it was started, or at least has a pid.
    pub(crate) fn started(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Returns its pid; 0 if it was not started.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Notes how it ended; the first to know is right.
    pub(crate) fn ended(&self, exit: Exit) {
        self.exit.send_if_modified(|known| {
            let news = known.is_none();
            if news {
                *known = Some(exit);
            }
            news
        });
    }

    /// Returns how it ended, if that is known.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until it is known how it ended.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exits = self.exit.subscribe();
        match exits.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The sender is in `self`.
            _ => Exit { pid: self.pid(), status: 255, at: SystemTime::now() },
        }
    }

    /// Notes that its exit is told now, and returns whether it had been before.
    pub(crate) fn tell(&self) -> Told {
        std::mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), Told::Yes)
    }

    /// Notes that its exit may have been told.
    pub(crate) fn perhaps_told(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == Told::No {
            *told = Told::Perhaps;
        }
    }

    /// Returns the answer to the question how it ended, which is put to the shim only once.
    pub(crate) async fn ask<F>(&self, ask: impl FnOnce() -> F) -> Result<Exit>
    where
        F: Future<Output = Result<Exit>> + Send + 'static,
    {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            match &*asked {
                Some(asked) => asked.clone(),
                None => {
                    let question = ask();
                    // An error is no value to share: its kind and words are.
                    let question = async move {
                        question.await.map_err(|error| (error.kind(), error.message().to_owned()))
                    };
                    asked.insert(question.boxed().shared()).clone()
                }
            }
        };
        let answer = asked.clone().await;
        if answer.is_err() {
            let mut stored = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if stored.as_ref().is_some_and(|stored| stored.ptr_eq(&asked)) {
                *stored = None;
            }
        }
        answer.map_err(|(kind, message)| Error::new(kind, message))
    }
}
