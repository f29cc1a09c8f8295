//! A manager with what a daemon has around it: containers, an exchange, and a ttrpc socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use stowd_api::services::events::ttrpc::v1::ForwardRequest;
use stowd_api::ttrpc::{Call, Dispatch, Service, serve};
use stowd_api::{Message as _, rpc, status};
use stowd_core::containers::{Container, Runtime, SPEC_TYPE, Store};
use stowd_core::events::{Envelopes, Event, Exchange as _};
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::mounts;
use stowd_core::sandboxes::{self, Sandbox};
use stowd_core::tasks::{Create, Stdio, Tasks as _};
use stowd_core::{Any, Chunks, Error, Labels, Namespace, Result, Scope};
use stowd_events::Exchange;
use stowd_tasks::{Config, Manager, Timeouts};
use stowd_testing::conformance::tasks::Subject;
use stowd_testing::image::Layer;
use stowd_testing::process::Run;
use stowd_testing::{Scratch, Version};

/// A script that runs until it is killed.
pub(crate) const FOREVER: &str = "while :; do sleep 1; done";

/// Whose shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Unmodified containerd's.
    Containerd(Version),
    /// Ours.
    Stowd,
}

/// What outlives a daemon.
pub(crate) struct Bench {
    pub(crate) config: Config,
    pub(crate) containers: Arc<Records>,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) scope: Scope,
    pub(crate) root_file_system: PathBuf,
    pub(crate) scratch: Scratch,
}

/// A manager of mounts that never has anything to do.
struct NoMounts;

#[async_trait]
impl mounts::Manager for NoMounts {
    async fn activate(
        &self,
        _: &Scope,
        _: &str,
        _: Vec<Mount>,
        _: mounts::Options,
    ) -> Result<mounts::Activation> {
        Err(Error::not_implemented("mounts that need no activation"))
    }

    async fn deactivate(&self, _: &Scope, name: &str) -> Result<()> {
        Err(Error::not_found(name))
    }

    async fn info(&self, _: &Scope, name: &str) -> Result<mounts::Activation> {
        Err(Error::not_found(name))
    }

    async fn list(&self, _: &Scope) -> Result<Chunks<mounts::Activation>> {
        Ok(Box::pin(futures_util::stream::empty()))
    }
}

/// A daemon's life: what ends with its process.
pub(crate) struct Life {
    pub(crate) manager: Arc<Manager>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) events: tokio::sync::Mutex<Envelopes>,
    pub(crate) scope: Scope,
}

impl Bench {
    pub(crate) fn new(kind: Kind) -> Self {
        let scratch = Scratch::new();
        let scope = Scope::new(Namespace::new(scratch.namespace()).unwrap());
        let programs = scratch.folder("bin");
        let runc = Version::V1_6.program("runc");
        std::os::unix::fs::symlink(runc, programs.join("runc")).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let root = scratch.folder("rootfs");
        let archive = scratch.join("rootfs.tar");
        std::fs::write(&archive, Layer::busybox().tar()).unwrap();
        let (to, from) = (root.as_os_str(), archive.as_os_str());
        Run::program("tar").args(["-C".as_ref(), to, "-xf".as_ref(), from]).ok();
        let shim = match kind {
            Kind::Containerd(version) => version.program("containerd-shim-runc-v2"),
            Kind::Stowd => stowd_testing::daemon::programs().join("stowd-shim"),
        };
        let config = Config {
            root: scratch.join("root"),
            state: scratch.join("state"),
            socket_dir: None,
            shim_path: Some(shim),
            grpc_address: scratch.join("grpc.sock").display().to_string(),
            ttrpc_address: scratch.join("ttrpc.sock").display().to_string(),
            env: vec![format!("PATH={}:{path}", programs.display())],
            timeouts: Timeouts {
                work: Duration::from_secs(10),
                call: Duration::from_secs(2),
                state: Duration::from_secs(1),
                stats: Duration::from_secs(1),
                load: Duration::from_secs(2),
                ..Default::default()
            },
        };
        let (containers, sandboxes) = (Arc::default(), Arc::default());
        Self { config, containers, sandboxes, scope, root_file_system: root, scratch }
    }

    /// Lives a daemon's life. When it ends, all ends as suddenly as if the process were killed.
    pub(crate) fn live<T>(&self, act: impl AsyncFnOnce(&Life) -> T) -> T {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        let lived = runtime.block_on(async {
            let life = Life::begin(self).await;
            act(&life).await
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        lived
    }

    /// Returns a task's bundle.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.config
            .state
            .join("io.containerd.runtime.v2.task")
            .join(self.scope.namespace.as_str())
            .join(id)
    }

    /// Returns the pid of a task's shim, as its bundle has it.
    pub(crate) fn shim_pid(&self, id: &str) -> rustix::process::Pid {
        let pid = std::fs::read_to_string(self.bundle(id).join("shim.pid")).unwrap();
        rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Stops a task's shim, as one that hangs.
    pub(crate) fn stop_shim(&self, id: &str) {
        let pid = self.shim_pid(id);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // Its threads stop one after the other.
        let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
        for _ in 0..500 {
            let threads = std::fs::read_dir(&tasks).unwrap().flatten();
            let mut stats =
                threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")));
            if stats.all(|stat| stat.is_ok_and(|stat| stat.contains(") T "))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the shim does not stop");
    }

    /// Lists what is left in the folders of bundles and work.
    pub(crate) fn bundles(&self) -> Vec<String> {
        let mut left = Vec::new();
        for top in [&self.config.state, &self.config.root] {
            for kind in
                ["io.containerd.runtime.v2.task", "io.containerd.sandbox.controller.v1.shim"]
            {
                for namespace in std::fs::read_dir(top.join(kind)).into_iter().flatten().flatten() {
                    let bundles = std::fs::read_dir(namespace.path());
                    let bundles = bundles.into_iter().flatten().flatten();
                    left.extend(bundles.map(|bundle| bundle.path().display().to_string()));
                }
            }
        }
        left
    }
}

impl Life {
    async fn begin(bench: &Bench) -> Self {
        let exchange = Arc::new(Exchange::new());
        let filter = format!("namespace=={},topic~=|^/tasks/|", bench.scope.namespace);
        let events = exchange.subscribe(Filters::parse(&[filter]).unwrap()).await.unwrap();
        let manager = Manager::new(
            bench.config.clone(),
            bench.containers.clone(),
            Arc::new(NoMounts),
            bench.sandboxes.clone(),
            exchange.clone(),
        )
        .unwrap();
        let _ = std::fs::remove_file(&bench.config.ttrpc_address);
        let listener = tokio::net::UnixListener::bind(&bench.config.ttrpc_address).unwrap();
        let service: Arc<dyn Service> = Arc::new(Forward(manager.clone()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, service.clone(), Dispatch::InOrder));
            }
        });
        manager.restore().await;
        Self { manager, exchange, events: events.into(), scope: bench.scope.clone() }
    }

    pub(crate) fn subject(&self, bench: &Bench, folder: PathBuf) -> Subject {
        let scope = || Scope::new(Namespace::new(bench.scratch.namespace()).unwrap());
        Subject {
            tasks: self.manager.clone(),
            containers: bench.containers.clone(),
            exchange: self.exchange.clone(),
            scope: scope(),
            other: scope(),
            folder,
        }
    }

    /// Makes a container that runs a shell script, and its task.
    pub(crate) async fn create(&self, bench: &Bench, id: &str, script: &str) -> u32 {
        let spec = spec(bench, id, script, Labels::new());
        self.create_with(bench, id, &spec).await.unwrap()
    }

    pub(crate) async fn create_with(
        &self,
        bench: &Bench,
        id: &str,
        spec: &serde_json::Value,
    ) -> Result<u32> {
        self.create_on(bench, container(id, spec), "").await
    }

    /// Makes a container, in place of the earlier one, and its task with this shim.
    pub(crate) async fn create_on(
        &self,
        bench: &Bench,
        container: Container,
        runtime_path: &str,
    ) -> Result<u32> {
        let id = container.id.clone();
        bench.containers.delete(&self.scope, &id).await.unwrap();
        bench.containers.create(&self.scope, container).await.unwrap();
        let rootfs = vec![Mount {
            kind: "bind".to_owned(),
            source: bench.root_file_system.display().to_string(),
            target: String::new(),
            options: vec!["rbind".to_owned(), "ro".to_owned()],
        }];
        let create = Create {
            container_id: id,
            rootfs,
            stdio: Stdio::default(),
            runtime_path: runtime_path.to_owned(),
            ..Default::default()
        };
        self.manager.create(&self.scope, create).await
    }

    /// As [`create`](Self::create), and starts it.
    pub(crate) async fn run(&self, bench: &Bench, id: &str, script: &str) -> u32 {
        let pid = self.create(bench, id, script).await;
        self.manager.start(&self.scope, id, "").await.unwrap();
        pid
    }

    /// Kills, awaits and deletes a task.
    pub(crate) async fn end(&self, id: &str) {
        self.manager.kill(&self.scope, id, "", 9, Default::default()).await.unwrap();
        self.manager.wait(&self.scope, id, "").await.unwrap();
        self.manager.delete(&self.scope, id, "").await.unwrap();
    }

    /// Collects the events up to that of a task's deletion, and those that come right after it.
    pub(crate) async fn told(&self, id: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let mut patience = Duration::from_secs(20);
        let mut stream = self.events.lock().await;
        while let Ok(event) = tokio::time::timeout(patience, stream.next()).await {
            let event = event.unwrap().unwrap().event;
            if matches!(&event, Event::TaskDelete { container_id, .. } if container_id == id) {
                patience = Duration::from_millis(500);
            }
            events.push(event);
        }
        events
    }
}

/// Makes a spec that runs a shell script in namespaces and a cgroup of its own.
pub(crate) fn spec(
    bench: &Bench,
    id: &str,
    script: &str,
    annotations: Labels,
) -> serde_json::Value {
    let namespaces: Vec<_> =
        ["pid", "ipc", "uts", "mount"].map(|kind| serde_json::json!({ "type": kind })).into();
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": process(script),
        "root": { "path": "rootfs", "readonly": true },
        "annotations": annotations,
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", bench.scope.namespace),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

/// Makes an OCI process that runs a shell script.
pub(crate) fn process(script: &str) -> serde_json::Value {
    serde_json::json!({
        "user": { "uid": 0, "gid": 0 },
        "args": ["sh", "-c", script],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "noNewPrivileges": true,
    })
}

pub(crate) fn container(id: &str, spec: &serde_json::Value) -> Container {
    Container {
        id: id.to_owned(),
        labels: Labels::new(),
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(Any { type_url: SPEC_TYPE.to_owned(), value: Bytes::from(spec.to_string()) }),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: BTreeMap::new(),
        sandbox_id: String::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

/// Takes events from shims, as the daemon does.
struct Forward(Arc<Manager>);

#[async_trait]
impl Service for Forward {
    async fn call(&self, call: Call) -> Result<Bytes, rpc::Status> {
        let request = ForwardRequest::decode(call.payload).unwrap();
        let envelope = request.envelope.unwrap().try_into();
        let envelope = envelope.map_err(|error: Error| status::to_ttrpc(&error))?;
        let forwarded = self.0.forwarded(envelope).await;
        forwarded.map(|()| Bytes::new()).map_err(|error| status::to_ttrpc(&error))
    }
}

/// Containers, in memory.
#[derive(Default)]
pub(crate) struct Records(Mutex<BTreeMap<(Namespace, String), Container>>);

#[async_trait]
impl Store for Records {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Container> {
        let found = self.0.lock().unwrap().get(&(scope.namespace.clone(), id.to_owned())).cloned();
        found.ok_or_else(|| Error::not_found(format_args!("container {id}")))
    }

    async fn list(&self, _: &Scope, _: &Filters) -> Result<Vec<Container>> {
        Err(Error::not_implemented("list"))
    }

    async fn create(&self, scope: &Scope, container: Container) -> Result<Container> {
        let key = (scope.namespace.clone(), container.id.clone());
        let mut all = self.0.lock().unwrap();
        if all.contains_key(&key) {
            return Err(Error::already_exists(format_args!("container {}", container.id)));
        }
        all.insert(key, container.clone());
        Ok(container)
    }

    async fn update(&self, _: &Scope, _: Container, _: &[String]) -> Result<Container> {
        Err(Error::not_implemented("update"))
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        self.0.lock().unwrap().remove(&(scope.namespace.clone(), id.to_owned()));
        Ok(())
    }
}

/// Records of sandboxes, in memory.
#[derive(Default)]
pub(crate) struct Sandboxes(Mutex<BTreeMap<(Namespace, String), Sandbox>>);

#[async_trait]
impl sandboxes::Store for Sandboxes {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Sandbox> {
        let found = self.0.lock().unwrap().get(&(scope.namespace.clone(), id.to_owned())).cloned();
        found.ok_or_else(|| Error::not_found(format_args!("sandbox {id}")))
    }

    async fn list(&self, _: &Scope, _: &Filters) -> Result<Vec<Sandbox>> {
        Err(Error::not_implemented("list"))
    }

    async fn create(&self, scope: &Scope, sandbox: Sandbox) -> Result<Sandbox> {
        let key = (scope.namespace.clone(), sandbox.id.clone());
        self.0.lock().unwrap().insert(key, sandbox.clone());
        Ok(sandbox)
    }

    async fn update(&self, _: &Scope, _: Sandbox, _: &[String]) -> Result<Sandbox> {
        Err(Error::not_implemented("update"))
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        self.0.lock().unwrap().remove(&(scope.namespace.clone(), id.to_owned()));
        Ok(())
    }
}
