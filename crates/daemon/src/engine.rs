//! The composition root: every part of the daemon, made in order, in plain code.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use stowd_core::events::Publisher;
use stowd_core::mounts::Mounter;
use stowd_core::snapshots::{Driver, Snapshotters};
use stowd_core::tasks::Tasks;
use stowd_core::transfer::Transfer;
use stowd_core::{
    Error, Result, containers, content, diff, events, images, introspection, leases, mounts,
    namespaces, sandboxes, streaming,
};
use stowd_metadata::Metadata;

use crate::Config;
use crate::config::ProxyKind;
use crate::dump::Observer;
use crate::introspection::Introspection;
use crate::lock::RootLock;
use crate::plugins::Plugins;
use crate::reload::Reloader;
use crate::sandboxers::Sandboxers;
use crate::streams::Streams;

/// A container engine: all contracts, ready for use, in this process.
///
/// It holds its root for itself until it is dropped. Containers that it started go on when it is
/// gone, and are there again when an engine is built on the same root and state.
pub struct Engine {
    pub(crate) config: Config,
    metadata: Arc<Metadata>,
    exchange: Arc<stowd_events::Exchange>,
    tasks: Arc<stowd_tasks::Manager>,
    sandboxers: Arc<Sandboxers>,
    differs: Vec<Differ>,
    transfer: Arc<stowd_transfer::Local>,
    streams: Arc<Streams>,
    introspection: Arc<Introspection>,
    // Last: everything above works on the root until it is dropped.
    _lock: RootLock,
}

impl Config {
    /// Builds the engine: takes the root and opens the stores. Tasks from before are found by
    /// [`Engine::serve`], or by [`Engine::restore`] where an engine is not served.
    ///
    /// # Errors
    /// `InvalidArgument` for a configuration that cannot be; `Unavailable` when another daemon has
    /// the root; `FailedPrecondition` when a required part does not work; those of the stores.
    pub async fn build(mut self) -> Result<Engine> {
        self.check()?;
        folder(&self.root, 0o700)?;
        folder(&self.state, 0o711)?;
        if let Some(temp) = &self.temp {
            folder(temp, 0o700)?;
            self.shim_env.push(format!("TMPDIR={}", temp.display()));
        }
        let lock = RootLock::take(&self.root)?;
        let mut plugins = Plugins::without(&self.disabled);

        let content_root = self.root.join("io.containerd.content.v1.content");
        let blobs = stowd_content::open(content_root.clone()).await?;
        let _ = plugins.add("content.v1", "content").root(&content_root);

        let exchange = Arc::new(stowd_events::Exchange::new());
        plugins.add_all("event.v1", &["exchange"], &[]);

        let drivers = drivers(&self, &mut plugins);
        let publisher: Arc<dyn Publisher> = exchange.clone();
        let mounter = mounter(&self, &mut plugins);
        let parts = stowd_metadata::Parts { blobs, drivers, mounter, publisher };
        let metadata = Metadata::open(self.metadata.clone(), parts).await?;
        let _ = plugins
            .add("metadata.v1", "bolt")
            .requires(&["content.v1", "event.v1", "snapshotter.v1"])
            .export(
                "policy",
                match self.metadata.sharing {
                    stowd_metadata::Sharing::Shared => "shared",
                    stowd_metadata::Sharing::Isolated => "isolated",
                },
            );
        plugins.add_all("gc.v1", &["scheduler"], &["metadata.v1"]);
        plugins.add_all("lease.v1", &["manager"], &["metadata.v1"]);
        plugins.add_all("sandbox.store.v1", &["local"], &["metadata.v1"]);

        let differ = Arc::new(stowd_diff::Walking::new(metadata.content(), self.diff.clone()));
        let _ = plugins.add("differ.v1", "walking").requires(&["metadata.v1"]).on_host();

        let differs = differs(&self, &differ, &mut plugins)?;

        let tasks = stowd_tasks::Manager::new(
            stowd_tasks::Config {
                root: self.root.clone(),
                state: self.state.clone(),
                socket_dir: self.shim_sockets.clone(),
                shim_path: self.shim.clone(),
                grpc_address: self.grpc.path.display().to_string(),
                ttrpc_address: self.ttrpc.path.display().to_string(),
                env: self.shim_env.clone(),
                timeouts: self.timeouts,
            },
            metadata.containers(),
            metadata.mounts(),
            metadata.sandboxes(),
            exchange.clone(),
        )?;
        plugins.add_all("shim.v1", &["manager"], &["event.v1", "metadata.v1"]);
        let mut sandboxers = Sandboxers::default();
        if !self.is_disabled("io.containerd.sandbox.controller.v1", "shim") {
            sandboxers.add("shim", tasks.sandboxes());
            plugins.add_all("sandbox.controller.v1", &["shim"], &["shim.v1", "event.v1"]);
        }
        let _ =
            plugins.add("runtime.v2", "task").requires(&["shim.v1", "mount-manager.v1"]).on_host();

        let transfer = Arc::new(stowd_transfer::Local::new(
            stowd_transfer::Parts {
                content: metadata.content(),
                images: metadata.images(),
                leases: metadata.leases(),
                snapshotters: metadata.snapshotters(),
                applier: differ,
                registries: Arc::new(stowd_registry::Client::new(self.registry.clone())),
            },
            self.transfer.clone(),
        ));
        plugins.add_all("transfer.v1", &["local"], &["lease.v1", "metadata.v1", "differ.v1"]);
        plugins.add_all("streaming.v1", &["manager"], &["metadata.v1"]);

        services(&mut plugins);
        plugins.check_required(&self.required)?;
        let introspection = Arc::new(Introspection::new(plugins, &self.root, tasks.clone())?);
        Ok(Engine {
            metadata,
            exchange,
            tasks,
            sandboxers: Arc::new(sandboxers),
            differs,
            transfer,
            streams: Arc::new(Streams::default()),
            introspection,
            config: self,
            _lock: lock,
        })
    }
}

impl Engine {
    /// Returns the content store.
    pub fn content(&self) -> Arc<dyn content::Store> {
        self.metadata.content()
    }

    /// Returns the snapshotters.
    pub fn snapshotters(&self) -> Arc<dyn Snapshotters> {
        self.metadata.snapshotters()
    }

    /// Returns all that applies and computes layers, in the order in which to ask them.
    pub fn differs(&self) -> Vec<Differ> {
        self.differs.clone()
    }

    /// Returns the image store.
    pub fn images(&self) -> Arc<dyn images::Store> {
        self.metadata.images()
    }

    /// Returns the container store.
    pub fn containers(&self) -> Arc<dyn containers::Store> {
        self.metadata.containers()
    }

    /// Returns the store of sandboxes.
    pub fn sandboxes(&self) -> Arc<dyn sandboxes::Store> {
        self.metadata.sandboxes()
    }

    /// Returns the lease store.
    pub fn leases(&self) -> Arc<dyn leases::Store> {
        self.metadata.leases()
    }

    /// Returns the manager of mounts.
    pub fn mounts(&self) -> Arc<dyn mounts::Manager> {
        self.metadata.mounts()
    }

    /// Returns the store of namespaces.
    pub fn namespaces(&self) -> Arc<dyn namespaces::Store> {
        self.metadata.namespaces()
    }

    /// Returns the event exchange.
    pub fn events(&self) -> Arc<dyn events::Exchange> {
        self.exchange.clone()
    }

    /// Returns what runs containers.
    pub fn tasks(&self) -> Arc<dyn Tasks> {
        self.tasks.clone()
    }

    /// Returns what keeps sandboxes.
    pub fn sandboxers(&self) -> Arc<dyn sandboxes::Controllers> {
        self.sandboxers.clone()
    }

    /// Returns what moves images.
    pub fn transfer(&self) -> Arc<dyn Transfer> {
        self.transfer.clone()
    }

    /// Returns the named streams.
    pub fn streams(&self) -> Arc<dyn streaming::Streams> {
        self.streams.clone()
    }

    /// Returns what the engine tells about itself.
    pub fn introspection(&self) -> Arc<dyn introspection::Introspection> {
        self.introspection.clone()
    }

    /// Finds the tasks that run since before this engine, and buries those whose shim is gone.
    ///
    /// Shims deliver on the ttrpc socket what happened meanwhile, so it must be served first.
    pub async fn restore(&self) {
        self.tasks.restore().await;
    }

    /// Returns what changes the engine's settings while it is served. It does not keep the engine.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(&self.metadata, &self.transfer)
    }

    /// Returns what tells what the engine is doing. It does not keep the engine.
    pub fn observer(&self) -> Observer {
        Observer::new(&self.metadata, &self.tasks, self.config.temp.clone())
    }

    /// Returns the manager of tasks, for the shims' events.
    pub(crate) fn manager(&self) -> Arc<stowd_tasks::Manager> {
        self.tasks.clone()
    }

    /// Lets calls that change something finish, and closes the stores. Containers go on.
    pub async fn shutdown(self) {
        self.metadata.shutdown().await;
    }
}

/// Something that both applies and computes layers.
pub type Differ = (Arc<dyn diff::Applier>, Arc<dyn diff::Comparer>);

/// Connects to the differs of other daemons, and puts all into the order asked for.
fn differs(
    config: &Config,
    own: &Arc<stowd_diff::Walking>,
    plugins: &mut Plugins,
) -> Result<Vec<Differ>> {
    let mut known: Vec<(&str, Differ)> = vec![("walking", (own.clone(), own.clone()))];
    for proxy in &config.proxies {
        let ProxyKind::Diff = proxy.kind;
        if config.is_disabled("io.containerd.differ.v1", &proxy.name) {
            continue;
        }
        // It need not run yet: a call connects.
        let differ = Arc::new(stowd_proxy::connect_lazy(&proxy.address)?.diff());
        known.push((&proxy.name, (differ.clone(), differ)));
        let _ = plugins.add("differ.v1", &proxy.name).of_proxy(proxy);
    }
    let find = |name: &String| known.iter().find(|(known, _)| known == name);
    Ok(config.differs.iter().filter_map(find).map(|(_, differ)| differ.clone()).collect())
}

/// Makes the snapshot drivers that work here, and says why the others do not.
fn drivers(config: &Config, plugins: &mut Plugins) -> Vec<Arc<dyn Driver>> {
    let mut drivers: Vec<Arc<dyn Driver>> = Vec::new();
    let folder = |id: &str| config.root.join(format!("io.containerd.snapshotter.v1.{id}"));
    let overlayfs = || -> Result<Arc<dyn Driver>> {
        let root = config.overlayfs.root_path.clone().unwrap_or_else(|| folder("overlayfs"));
        Ok(Arc::new(stowd_snapshots::overlayfs::Overlay::new(root, config.overlayfs.clone())?))
    };
    let native = || -> Result<Arc<dyn Driver>> {
        Ok(Arc::new(stowd_snapshots::native::Native::new(
            config.native_root.clone().unwrap_or_else(|| folder("native")),
        )?))
    };
    type Make<'a> = &'a dyn Fn() -> Result<Arc<dyn Driver>>;
    for (id, make) in [("overlayfs", &overlayfs as Make<'_>), ("native", &native)] {
        if config.is_disabled("io.containerd.snapshotter.v1", id) {
            continue;
        }
        match make() {
            Ok(driver) => {
                let _ = plugins
                    .add("snapshotter.v1", id)
                    .on_host()
                    .root(driver.root())
                    .can(driver.capabilities());
                drivers.push(driver);
            }
            Err(error) => {
                tracing::warn!(%error, snapshotter = id, "skipping a snapshotter");
                plugins.skip("snapshotter.v1", id, &error.to_string());
            }
        }
    }
    for id in ["blockfile", "btrfs", "devmapper", "erofs"] {
        plugins.skip("snapshotter.v1", id, "not built into this stowd yet");
    }
    drivers
}

/// Makes what performs the mounts of the mount manager, or says why it does not work.
fn mounter(config: &Config, plugins: &mut Plugins) -> Option<Arc<dyn Mounter>> {
    const KIND: &str = "mount-manager.v1";
    plugins.skip("mount-handler.v1", "erofs", "not built into this stowd yet");
    if config.is_disabled("io.containerd.mount-manager.v1", "bolt") {
        return None;
    }
    let opened = stowd_mount::Activator::open(stowd_mount::manager::Config {
        targets: config.state.join("io.containerd.mount-manager.v1.bolt/t"),
        roots: vec![config.root.clone()],
    });
    match opened {
        Ok(activator) => {
            let _ = plugins.add(KIND, "bolt").requires(&["metadata.v1", "mount-handler.v1"]);
            plugins.add_all("grpc.v1", &["mounts"], &[KIND]);
            Some(Arc::new(activator))
        }
        Err(error) => {
            tracing::warn!(%error, "skipping the mount manager");
            plugins.skip(KIND, "bolt", &error.to_string());
            None
        }
    }
}

/// Records the services, which have no parts of their own.
fn services(plugins: &mut Plugins) {
    let names = [
        "containers-service",
        "content-service",
        "diff-service",
        "images-service",
        "introspection-service",
        "namespaces-service",
        "snapshots-service",
        "tasks-service",
    ];
    plugins.add_all("service.v1", &names, &["metadata.v1"]);
    let faces = [
        "containers",
        "content",
        "diff",
        "events",
        "healthcheck",
        "images",
        "introspection",
        "leases",
        "namespaces",
        "snapshots",
        "streaming",
        "tasks",
        "transfer",
        "version",
    ];
    plugins.add_all("grpc.v1", &faces, &["service.v1"]);
    plugins.add_all("grpc.v1", &["sandboxes"], &["sandbox.store.v1"]);
    let needs = ["podsandbox.controller.v1", "sandbox.controller.v1", "event.v1"];
    plugins.add_all("grpc.v1", &["sandbox-controllers"], &needs);
}

fn folder(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Error::io(format_args!("make folder {}", path.display()), &error))
}
