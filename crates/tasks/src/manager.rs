//! The manager: which tasks there are, and what is heard of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use stowd_core::events::{Envelope, Event, Exchange};
use stowd_core::tasks::Exit;
use stowd_core::{Error, Namespace, Result, Scope, containers, mounts, sandboxes};

use crate::bundle::{self, Bundle, Kind};
use crate::program::Programs;
use crate::sandboxes::Sandboxes;
use crate::sealed::Sealed;
use crate::shim::Shim;
use crate::task::{Stage, Task, Told};
use crate::{Config, address};

/// How long the exits of buried tasks are remembered, so that late news of them is not told again.
const MEMORY: Duration = Duration::from_secs(60);

/// Runs containers through shims.
pub struct Manager {
    pub(crate) inner: Arc<Inner>,
}

/// What the manager's own tasks share with it.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) containers: Arc<dyn containers::Store>,
    pub(crate) mounts: Arc<dyn mounts::Manager>,
    pub(crate) sandboxes: Arc<dyn sandboxes::Store>,
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) programs: Programs,
    pub(crate) sealed: Sealed,
    /// The daemon's environment, for our own shim.
    pub(crate) env: Vec<CString>,
    /// The shims by where they listen.
    pub(crate) shims: Mutex<HashMap<String, Weak<Shim>>>,
    /// One lock for each group whose containers share a shim.
    pub(crate) groups: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    tasks: Mutex<HashMap<Namespace, BTreeMap<String, Arc<Task>>>>,
    buried: Mutex<VecDeque<Buried>>,
}

/// A process whose exit was told by us, because its shim could not.
struct Buried {
    at: Instant,
    namespace: Namespace,
    container_id: String,
    pid: u32,
}

impl Manager {
    /// Makes a manager. Its folders are created; tasks from before are not known until
    /// [`restore`](Self::restore): who asks for one waits for that.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(
        config: Config,
        containers: Arc<dyn containers::Store>,
        mounts: Arc<dyn mounts::Manager>,
        sandboxes: Arc<dyn sandboxes::Store>,
        exchange: Arc<dyn Exchange>,
    ) -> Result<Arc<Self>> {
        bundle::prepare(&config)?;
        let tasks = from_before(&config);
        let inner = Arc::new(Inner {
            env: environment(&config),
            config,
            containers,
            mounts,
            sandboxes,
            exchange,
            programs: Programs::default(),
            sealed: Sealed::default(),
            shims: Mutex::default(),
            groups: Mutex::default(),
            tasks: Mutex::new(tasks),
            buried: Mutex::default(),
        });
        Ok(Arc::new(Self { inner }))
    }

    /// Returns the controller of sandboxes that are kept by shims.
    pub fn sandboxes(&self) -> Arc<dyn sandboxes::Controller> {
        Arc::new(Sandboxes(self.inner.clone()))
    }

    /// Finds the tasks and sandboxes that run since before this daemon: connects to their shims, all at once, and
    /// buries those whose shim is gone. Returns when each task is known or buried.
    pub async fn restore(self: &Arc<Self>) {
        crate::restore::restore(&self.inner).await;
    }

    /// Takes an event that a shim forwarded, and passes it on to the exchange.
    ///
    /// # Errors
    /// As [`Exchange::forward`].
    pub async fn forwarded(&self, envelope: Envelope) -> Result<()> {
        let Some(news) = self.inner.hear(&envelope) else {
            tracing::debug!(topic = envelope.topic, "dropped the second exit of a process");
            return Ok(());
        };
        let forwarded = self.inner.exchange.forward(envelope).await;
        // Who waits learns of it after it was told, also when telling it failed.
        news.note();
        forwarded
    }
}

/// What an event says about a task that we know.
enum News {
    Nothing,
    Ended(Arc<crate::task::Process>, Exit),
    Deleted(Arc<Task>),
}

impl News {
    fn note(self) {
        match self {
            Self::Nothing => {}
            Self::Ended(process, exit) => process.ended(exit),
            Self::Deleted(task) => {
                task.told_deleted.send_replace(true);
            }
        }
    }
}

impl Inner {
    /// Listens to an event; `None` when it is an exit that was told already.
    fn hear(&self, envelope: &Envelope) -> Option<News> {
        let find = |id: &str| self.find(&envelope.namespace, id);
        Some(match &envelope.event {
            Event::TaskExit { container_id, id, pid, exit_status, exited_at } => {
                if self.is_buried(&envelope.namespace, container_id, *pid) {
                    return None;
                }
                let Some(task) = find(container_id) else { return Some(News::Nothing) };
                let exec_id = if id == container_id { "" } else { id };
                let process = task.process(exec_id);
                if process.tell() == Told::Yes {
                    return None;
                }
                let exit = Exit { pid: *pid, status: *exit_status, at: *exited_at };
                News::Ended(process, exit)
            }
            Event::TaskExecStarted { container_id, exec_id, pid } => {
                if let Some(task) = find(container_id) {
                    task.process(exec_id).started(*pid);
                }
                News::Nothing
            }
            Event::TaskDelete { container_id, id, .. } if id.is_empty() || id == container_id => {
                find(container_id).map_or(News::Nothing, News::Deleted)
            }
            _ => News::Nothing,
        })
    }

    /// Reserves an id for a task or sandbox that is being made: both have the same ids.
    pub(crate) fn reserve(&self, kind: Kind, namespace: &Namespace, id: &str) -> Result<Arc<Task>> {
        let mut tasks = self.lock();
        let there = tasks.entry(namespace.clone()).or_default();
        if there.contains_key(id) {
            return Err(match kind {
                Kind::Task => Error::already_exists(format_args!("task {id}")),
                Kind::Sandbox => {
                    Error::already_exists(format_args!("sandbox {id} already running"))
                }
            });
        }
        let bundle = Bundle::new(&self.config, kind, namespace, id);
        let task = Task::new(kind, namespace.clone(), id.to_owned(), bundle, Stage::Making);
        let task = Arc::new(task);
        there.insert(id.to_owned(), task.clone());
        Ok(task)
    }

    /// Forgets a task.
    pub(crate) fn remove(&self, task: &Task) {
        let mut tasks = self.lock();
        if let Some(there) = tasks.get_mut(&task.namespace) {
            there.remove(&task.id);
            if there.is_empty() {
                tasks.remove(&task.namespace);
            }
        }
        drop(tasks);
        task.stage.send_replace(Stage::Gone);
    }

    /// Returns a task, in whatever stage.
    pub(crate) fn find(&self, namespace: &Namespace, id: &str) -> Option<Arc<Task>> {
        self.lock().get(namespace)?.get(id).cloned()
    }

    /// Returns a namespace's tasks.
    pub(crate) fn all(&self, namespace: &Namespace) -> Vec<Arc<Task>> {
        self.lock().get(namespace).into_iter().flatten().map(|(_, task)| task.clone()).collect()
    }

    /// Returns the tasks of all namespaces.
    pub(crate) fn everywhere(&self) -> Vec<Arc<Task>> {
        self.lock().values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Returns a task that can be used, and its shim.
    pub(crate) async fn ready(&self, scope: &Scope, id: &str) -> Result<(Arc<Task>, Arc<Shim>)> {
        let task = self.find(&scope.namespace, id).filter(|task| task.kind == Kind::Task);
        self.used(task.ok_or_else(|| Error::not_found(format_args!("task {id} not found")))?).await
    }

    /// Waits until a task or sandbox can be used, and returns it with its shim.
    pub(crate) async fn used(&self, task: Arc<Task>) -> Result<(Arc<Task>, Arc<Shim>)> {
        let id = &task.id;
        let not_found = || match task.kind {
            Kind::Task => Error::not_found(format_args!("task {id} not found")),
            Kind::Sandbox => Error::not_found(format_args!("sandbox {id} not found")),
        };
        let mut stage = *task.stage.borrow();
        if stage == Stage::Missing {
            let mut stages = task.stage.subscribe();
            let found = stages.wait_for(|stage| *stage != Stage::Missing);
            stage = match tokio::time::timeout(self.config.timeouts.load, found).await {
                Ok(Ok(stage)) => *stage,
                _ => {
                    let message = format_args!("{id} has not been found again yet");
                    return Err(Error::unavailable(message));
                }
            };
        }
        match task.shim() {
            Some(shim) if stage == Stage::Ready => {
                let shim = shim.clone();
                Ok((task, shim))
            }
            _ => Err(not_found()),
        }
    }

    /// Remembers that we told a process's exit ourselves.
    pub(crate) fn bury(&self, task: &Task, pid: u32) {
        let mut buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while buried.front().is_some_and(|first| now.duration_since(first.at) > MEMORY) {
            buried.pop_front();
        }
        buried.push_back(Buried {
            at: now,
            namespace: task.namespace.clone(),
            container_id: task.id.clone(),
            pid,
        });
    }

    fn is_buried(&self, namespace: &Namespace, id: &str, pid: u32) -> bool {
        let buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
        pid != 0
            && buried
                .iter()
                .any(|one| one.pid == pid && one.container_id == id && one.namespace == *namespace)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Namespace, BTreeMap<String, Arc<Task>>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the bundles of tasks from before. They are known from the start, so that what their shims
/// tell before they are connected to is noted.
fn from_before(config: &Config) -> HashMap<Namespace, BTreeMap<String, Arc<Task>>> {
    let mut tasks: HashMap<_, BTreeMap<_, _>> = HashMap::new();
    for kind in Kind::ALL {
        let state = bundle::state(config, kind);
        for name in bundle::folders(&state) {
            let Ok(namespace) = Namespace::new(&name) else { continue };
            for id in bundle::folders(&state.join(&name)) {
                let bundle = Bundle::new(config, kind, &namespace, &id);
                let task = Task::new(kind, namespace.clone(), id.clone(), bundle, Stage::Missing);
                tasks.entry(namespace.clone()).or_default().insert(id, Arc::new(task));
            }
        }
    }
    tasks
}

/// Puts together what our own shim gets as environment; its namespace is added at each start.
fn environment(config: &Config) -> Vec<CString> {
    let mut all: BTreeMap<Vec<u8>, Vec<u8>> = std::env::vars_os()
        // These are between the daemon and its service manager.
        .filter(|(name, _)| {
            !matches!(
                name.as_bytes(),
                b"NOTIFY_SOCKET"
                    | b"LISTEN_FDS"
                    | b"LISTEN_PID"
                    | b"WATCHDOG_USEC"
                    | b"WATCHDOG_PID"
            )
        })
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    for (name, value) in
        [("GRPC_ADDRESS", &config.grpc_address), ("TTRPC_ADDRESS", &config.ttrpc_address)]
    {
        all.insert(name.into(), value.clone().into_bytes());
    }
    for (name, value) in config.env.iter().filter_map(|pair| pair.split_once('=')) {
        all.insert(name.into(), value.into());
    }
    let pairs = all.into_iter().map(|(name, value)| [name, value].join(&b'='));
    pairs.filter_map(|pair| CString::new(pair).ok()).collect()
}

impl Inner {
    /// Makes the folder of the shims' sockets.
    pub(crate) fn make_socket_folder(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = address::folder(&self.config);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&folder)
            .map_err(|error| Error::io(format_args!("make folder {}", folder.display()), &error))
    }
}
