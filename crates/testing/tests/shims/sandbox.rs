//! A shim that keeps sandboxes, and their tasks, of nothing but their states: containerd's own shim
//! keeps none.
//!
//! It is served by the test's process; its program, a script, only says where. A sandbox whose
//! options have the type `refuse-create` or `refuse-start` does not come to be.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use stowd_api::runtime::sandbox::v1::{self as wire, sandbox_names as sandboxes};
use stowd_api::status::Code;
use stowd_api::task::v3::{self, task_names as tasks};
use stowd_api::ttrpc::{Call, Dispatch, Service, serve};
use stowd_api::types::{Metric, Platform, task};
use stowd_api::{Any, Message, Timestamp, rpc, status};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The pid that sandboxes are said to have.
pub(crate) const PID: u32 = 4_000_000;

/// The status that stopped sandboxes end with.
pub(crate) const STATUS: u32 = 7;

/// The shim.
pub(crate) struct SandboxShim {
    /// Its program, to be named as a runtime.
    pub(crate) program: PathBuf,
    serving: Mutex<Option<JoinHandle<()>>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    sandboxes: Mutex<HashMap<String, Sandbox>>,
    tasks: Mutex<HashMap<String, Child>>,
    /// How many connections there were.
    connections: AtomicUsize,
    /// How many of them, from the first, are over.
    over: watch::Sender<usize>,
}

struct Sandbox {
    refuses_start: bool,
    ended: watch::Sender<Option<Timestamp>>,
}

impl SandboxShim {
    /// Listens in a folder, and writes the program there. Must be called in a tokio runtime.
    pub(crate) fn new(folder: &Path) -> Self {
        let socket = folder.join("sandboxes.sock");
        let program = folder.join("containerd-shim-sandboxes-v1");
        let answer = format!(
            r#"{{"version":3,"address":"unix://{}","protocol":"ttrpc"}}"#,
            socket.display()
        );
        // A daemon removes a shim's socket when that has ended: each start makes its name again.
        let text = format!(
            "#!/bin/sh\nfor last; do :; done\n\
             [ $last = start ] && ln -f {socket}.real {socket} && echo '{answer}'\n:\n",
            socket = socket.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let shim = Self { program, serving: Mutex::default(), state: Arc::default() };
        shim.listen(&socket);
        shim
    }

    /// Listens again, after [`die`](Self::die) or in another runtime; it still has its sandboxes.
    pub(crate) fn listen(&self, socket: &Path) {
        let real = format!("{}.real", socket.display());
        let _ = std::fs::remove_file(&real);
        let listener = tokio::net::UnixListener::bind(&real).unwrap();
        let _ = std::fs::remove_file(socket);
        std::fs::hard_link(&real, socket).unwrap();
        let service: Arc<dyn Service> = Arc::new(Served(self.state.clone()));
        let state = self.state.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, state) = (service.clone(), state.clone());
                let number = state.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let mut over = state.over.subscribe();
                    tokio::select! {
                        _ = serve(stream, service, Dispatch::Concurrent) => {}
                        _ = over.wait_for(|over| *over > number) => {}
                    }
                });
            }
        });
        *self.serving.lock().unwrap() = Some(serving);
    }

    /// Ends its connections, as when its process dies.
    pub(crate) fn die(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.abort();
        }
    }

    /// Ends a sandbox, as by itself.
    pub(crate) fn end(&self, id: &str) {
        self.state.sandboxes.lock().unwrap()[id].ended.send_replace(Some(now()));
    }

    /// Says which sandboxes it keeps.
    pub(crate) fn kept(&self) -> Vec<String> {
        self.state.sandboxes.lock().unwrap().keys().cloned().collect()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for child in self.tasks.get_mut().unwrap().values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Served(Arc<State>);

#[async_trait]
impl Service for Served {
    async fn call(&self, call: Call) -> Result<Bytes, rpc::Status> {
        match &*call.service {
            sandboxes::SERVICE => self.sandbox(call).await,
            tasks::SERVICE => self.task(call).await,
            _ => Err(status::unimplemented(&call.service, &call.method)),
        }
    }
}

impl Served {
    fn of<T>(&self, id: &str, act: impl FnOnce(&mut Sandbox) -> T) -> Result<T, rpc::Status> {
        let mut all = self.0.sandboxes.lock().unwrap();
        all.get_mut(id).map(act).ok_or_else(|| status::new(Code::NotFound, "no such sandbox"))
    }

    async fn sandbox(&self, call: Call) -> Result<Bytes, rpc::Status> {
        // The id is the first field of every request.
        let id = read::<wire::PingRequest>(&call)?.sandbox_id;
        match &*call.method {
            sandboxes::CREATE_SANDBOX => {
                let request: wire::CreateSandboxRequest = read(&call)?;
                let manner = request.options.map(|any| any.type_url).unwrap_or_default();
                if manner == "refuse-create" {
                    return Err(status::new(Code::InvalidArgument, "refused by its options"));
                }
                assert!(Path::new(&request.bundle_path).is_dir());
                let ended = watch::Sender::new(None);
                let sandbox = Sandbox { refuses_start: manner == "refuse-start", ended };
                self.0.sandboxes.lock().unwrap().insert(id, sandbox);
                Ok(Bytes::new())
            }
            sandboxes::START_SANDBOX => {
                if self.of(&id, |it| it.refuses_start)? {
                    return Err(status::new(Code::FailedPrecondition, "refused by its options"));
                }
                let created_at = Some(now());
                reply(&wire::StartSandboxResponse { pid: PID, created_at, spec: None })
            }
            sandboxes::PLATFORM => {
                self.of(&id, |_| ())?;
                let (os, architecture) = ("linux".to_owned(), "riscv64".to_owned());
                let platform = Some(Platform { os, architecture, ..Platform::default() });
                reply(&wire::PlatformResponse { platform })
            }
            sandboxes::STOP_SANDBOX => {
                self.of(&id, |it| it.ended.send_replace(Some(now())))?;
                Ok(Bytes::new())
            }
            sandboxes::WAIT_SANDBOX => {
                let mut ended = self.of(&id, |it| it.ended.subscribe())?;
                let exited_at = ended.wait_for(Option::is_some).await.map(|at| *at);
                let gone = |_| status::new(Code::NotFound, "no such sandbox");
                let exited_at = exited_at.map_err(gone)?;
                reply(&wire::WaitSandboxResponse { exit_status: STATUS, exited_at })
            }
            sandboxes::SANDBOX_STATUS => {
                let request: wire::SandboxStatusRequest = read(&call)?;
                let exited_at = self.of(&id, |it| *it.ended.borrow())?;
                let state = if exited_at.is_some() { "SANDBOX_NOTREADY" } else { "SANDBOX_READY" };
                let info = [("some".to_owned(), "thing".to_owned())];
                reply(&wire::SandboxStatusResponse {
                    sandbox_id: id,
                    pid: PID,
                    state: state.to_owned(),
                    info: request.verbose.then_some(info).into_iter().flatten().collect(),
                    created_at: Some(now()),
                    exited_at,
                    extra: None,
                })
            }
            sandboxes::PING_SANDBOX => self.of(&id, |_| Bytes::new()),
            sandboxes::SHUTDOWN_SANDBOX => {
                let mut all = self.0.sandboxes.lock().unwrap();
                all.remove(&id);
                if all.is_empty() {
                    // As a shim does that ends, after its answer.
                    let state = self.0.clone();
                    let all = state.connections.load(Ordering::Relaxed);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        state.over.send_replace(all);
                    });
                }
                Ok(Bytes::new())
            }
            sandboxes::SANDBOX_METRICS => {
                self.of(&id, |_| ())?;
                let data = Some(Any { type_url: "numbers".to_owned(), ..Any::default() });
                let metrics = Some(Metric { id, timestamp: Some(now()), data });
                reply(&wire::SandboxMetricsResponse { metrics })
            }
            _ => Err(status::unimplemented(&call.service, &call.method)),
        }
    }

    async fn task(&self, call: Call) -> Result<Bytes, rpc::Status> {
        let id = read::<v3::ConnectRequest>(&call)?.id;
        let pid = self.0.tasks.lock().unwrap().get(&id).map(Child::id);
        let absent = || status::new(Code::NotFound, "no such task");
        match &*call.method {
            tasks::CREATE => {
                let child = Command::new("sleep").arg("1000").spawn().unwrap();
                let pid = child.id();
                self.0.tasks.lock().unwrap().insert(id, child);
                reply(&v3::CreateTaskResponse { pid })
            }
            tasks::START => reply(&v3::StartResponse { pid: pid.ok_or_else(absent)? }),
            tasks::STATE => {
                let pid = pid.ok_or_else(absent)?;
                let status = task::Status::Running.into();
                reply(&v3::StateResponse { id, pid, status, ..Default::default() })
            }
            tasks::PIDS => {
                pid.ok_or_else(absent)?;
                Ok(Bytes::new())
            }
            tasks::DELETE => {
                let removed = self.0.tasks.lock().unwrap().remove(&id);
                let mut child = removed.ok_or_else(absent)?;
                let _ = child.kill();
                let _ = child.wait();
                let exited_at = Some(now());
                reply(&v3::DeleteResponse { pid: child.id(), exit_status: 137, exited_at })
            }
            // containerd asks it for sandboxes, too.
            tasks::CONNECT => {
                let task_pid = pid.unwrap_or_default();
                reply(&v3::ConnectResponse { task_pid, ..Default::default() })
            }
            tasks::SHUTDOWN => Ok(Bytes::new()),
            tasks::WAIT => std::future::pending().await,
            _ => Err(status::unimplemented(&call.service, &call.method)),
        }
    }
}

fn read<M: Message + Default>(call: &Call) -> Result<M, rpc::Status> {
    M::decode(call.payload.clone())
        .map_err(|error| status::new(Code::InvalidArgument, error.to_string()))
}

fn reply(message: &impl Message) -> Result<Bytes, rpc::Status> {
    Ok(message.encode_to_vec().into())
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
