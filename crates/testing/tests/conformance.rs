//! The conformance suites over gRPC, against unmodified containerd and against stowd.
//!
//! A rule that containerd breaks is a mistake of the suite; a rule that only stowd breaks is one of
//! stowd. `STOWD_CHECK=name` runs only the rules whose names hold that text.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::sync::Arc;

use stowd_core::leases::Store as _;
use stowd_core::{Labels, Namespace, Scope};
use stowd_proxy::Connection;
use stowd_testing::conformance::{
    self, containers, content, diff, events, images, leases, mounts, sandbox_controllers,
    sandboxes, snapshots, tasks,
};
use stowd_testing::daemon::Kind;
use stowd_testing::gates::met;
use stowd_testing::{Daemon, Need, Scratch, Version};

#[path = "shims/sandbox.rs"]
#[allow(dead_code, reason = "some of it is for other tests")]
mod sandbox_shim;

/// A daemon under test, and what is needed to make subjects on it.
struct Bench {
    connection: Connection,
    daemon: Daemon,
    // Last, so that the daemon has ended when the folder is searched for what was left behind.
    scratch: Scratch,
}

impl Bench {
    async fn new(kind: Kind) -> Self {
        let scratch = Scratch::new();
        let daemon = Daemon::start(kind, &scratch, "");
        Self::of(daemon, scratch).await
    }

    async fn of(daemon: Daemon, scratch: Scratch) -> Self {
        let connection = stowd_proxy::connect(daemon.socket()).await.unwrap();
        Self { connection, daemon, scratch }
    }

    /// A namespace of its own for a check.
    fn scope(&self) -> Scope {
        Scope::new(Namespace::new(self.scratch.namespace()).unwrap())
    }

    /// A namespace of its own, under a lease: garbage collection may come at any time.
    async fn leased(&self) -> Scope {
        let scope = self.scope();
        self.connection.leases().create(&scope, "held", Labels::new()).await.unwrap();
        scope.with_lease("held")
    }

    fn folder(&self, check: &str) -> std::path::PathBuf {
        self.scratch.folder(check)
    }
}

/// How often a rule may be tried where containerd is known to have races of its own.
fn tries(kind: Kind) -> usize {
    if kind == Kind::Stowd { 1 } else { 3 }
}

async fn content(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run_up_to(tries(kind), "content", content::CHECKS, async |_| content::Subject {
        store: Arc::new(bench.connection.content()),
        scope: bench.leased().await,
        other: bench.leased().await,
    })
    .await;
}

async fn images(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("images", images::CHECKS, async |_| images::Subject {
        images: Arc::new(bench.connection.images()),
        content: Arc::new(bench.connection.content()),
        leases: Arc::new(bench.connection.leases()),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

async fn containers(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("containers", containers::CHECKS, async |_| containers::Subject {
        containers: Arc::new(bench.connection.containers()),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

async fn sandboxes(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("sandboxes", sandboxes::CHECKS, async |_| sandboxes::Subject {
        sandboxes: Arc::new(bench.connection.sandboxes()),
        namespaces: Arc::new(bench.connection.namespaces()),
        content: Arc::new(bench.connection.content()),
        leases: Arc::new(bench.connection.leases()),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

async fn sandbox_controllers(kind: Kind) {
    let scratch = Scratch::new();
    let bench = Bench::of(Daemon::start_with_sandboxes(kind, &scratch), scratch).await;
    let controller = |name: &str| Arc::new(bench.connection.sandbox_controller(name));
    let mut checks: Vec<_> = sandbox_controllers::CHECKS.iter().collect();
    // containerd leaves the shim running that it started.
    if kind == Kind::Stowd {
        checks.push(&conformance::Check {
            name: "a_runtime_without_sandboxes_is_refused",
            run: |it| {
                Box::pin(async move {
                    sandbox_controllers::a_runtime_without_sandboxes_is_refused(&it).await;
                })
            },
        });
    }
    let shims = std::cell::RefCell::new(Vec::new());
    conformance::run("sandbox controllers", checks, async |check| {
        let folder = bench.folder(check);
        let shim = sandbox_shim::SandboxShim::new(&folder);
        let runtime = shim.program.display().to_string();
        shims.borrow_mut().push(shim);
        sandbox_controllers::Subject {
            controller: controller("shim"),
            unknown: controller("unknown"),
            nameless: controller(""),
            sandboxes: Arc::new(bench.connection.sandboxes()),
            containers: Arc::new(bench.connection.containers()),
            tasks: Arc::new(bench.connection.tasks()),
            exchange: Arc::new(bench.connection.events()),
            runtime,
            scope: bench.scope(),
            other: bench.scope(),
        }
    })
    .await;
}

async fn leases(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("leases", leases::CHECKS, async |_| leases::Subject {
        leases: Arc::new(bench.connection.leases()),
        content: Arc::new(bench.connection.content()),
        snapshotter: Arc::new(bench.connection.snapshotter("native")),
        snapshotter_name: "native".to_owned(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

/// Not for containerd 2.1, which has no such service.
async fn mounts(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("mounts", mounts::CHECKS, async |check| {
        // Transformers work below the daemon's root only.
        let folder = bench.daemon.root().join("mounts").join(check);
        std::fs::create_dir_all(&folder).unwrap();
        mounts::Subject {
            mounts: Arc::new(bench.connection.mounts()),
            leases: Arc::new(bench.connection.leases()),
            containers: Arc::new(bench.connection.containers()),
            content: Arc::new(bench.connection.content()),
            images: Arc::new(bench.connection.images()),
            snapshotter: Arc::new(bench.connection.snapshotter("native")),
            snapshotter_name: "native".to_owned(),
            scope: bench.leased().await,
            other: bench.leased().await,
            folder,
        }
    })
    .await;
}

async fn snapshots(kind: Kind, snapshotter: &str) {
    let bench = Bench::new(kind).await;
    conformance::run(snapshotter, snapshots::CHECKS, async |check| snapshots::Subject {
        snapshotter: Arc::new(bench.connection.snapshotter(snapshotter)),
        scope: bench.leased().await,
        other: bench.leased().await,
        folder: bench.folder(check),
    })
    .await;
}

async fn snapshots_overlayfs(kind: Kind) {
    snapshots(kind, "overlayfs").await;
}

async fn snapshots_native(kind: Kind) {
    snapshots(kind, "native").await;
}

async fn differ(kind: Kind, snapshotter: &str) {
    let bench = Bench::new(kind).await;
    let suite = format!("diff on {snapshotter}");
    // It would write a terabyte of zeros.
    let spared = |name: &str| kind != Kind::Stowd && name == "holes_cost_nothing";
    let checks = diff::CHECKS.iter().filter(|check| !spared(check.name));
    conformance::run(&suite, checks, async |check| diff::Subject {
        applier: Arc::new(bench.connection.diff()),
        comparer: Arc::new(bench.connection.diff()),
        content: Arc::new(bench.connection.content()),
        snapshotter: Arc::new(bench.connection.snapshotter(snapshotter)),
        scope: bench.leased().await,
        folder: bench.folder(check),
    })
    .await;
}

async fn diff_overlayfs(kind: Kind) {
    differ(kind, "overlayfs").await;
}

async fn diff_native(kind: Kind) {
    differ(kind, "native").await;
}

async fn events(kind: Kind) {
    let bench = Bench::new(kind).await;
    conformance::run("events", events::CHECKS, async |_| events::Subject {
        exchange: Arc::new(bench.connection.events()),
        images: Arc::new(bench.connection.images()),
        containers: Arc::new(bench.connection.containers()),
        namespaces: Arc::new(bench.connection.namespaces()),
        content: Arc::new(bench.connection.content()),
        snapshotter: Arc::new(bench.connection.snapshotter("native")),
        snapshotter_name: "native".to_owned(),
        scope: bench.leased().await,
        other: bench.leased().await,
    })
    .await;
}

async fn tasks(kind: Kind) {
    let mut bench = Bench::new(kind).await;
    // One root file system for all checks: it is mounted read-only.
    let folder = bench.folder("tasks");
    conformance::run_up_to(tries(kind), "tasks", tasks::CHECKS, async |check| {
        let folder = folder.join(check);
        std::fs::create_dir_all(&folder).unwrap();
        tasks::Subject {
            tasks: Arc::new(bench.connection.tasks()),
            containers: Arc::new(bench.connection.containers()),
            exchange: Arc::new(bench.connection.events()),
            scope: bench.scope(),
            other: bench.scope(),
            folder,
        }
    })
    .await;
    assert!(bench.daemon.is_running(), "the daemon ended:\n{}", bench.daemon.log());
}

macro_rules! suites {
    ($module:ident, $kind:expr, $needs:expr; $($suite:ident),+ $(,)?) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $suite() {
                let name = concat!(stringify!($module), "::", stringify!($suite));
                if met(name, $needs) {
                    super::$suite($kind).await;
                }
            })+
        }
    };
}

suites!(containerd, Kind::Containerd(Version::V2), &[Need::Root, Need::Clients, Need::Overlayfs];
    content, images, containers, leases, sandboxes, sandbox_controllers, snapshots_overlayfs, snapshots_native,
    diff_overlayfs, diff_native, events, tasks,
);

suites!(stowd, Kind::Stowd, &[Need::Root, Need::Clients, Need::Overlayfs, Need::Stowd];
    content, images, containers, leases, mounts, snapshots_overlayfs, snapshots_native, sandboxes, sandbox_controllers,
    diff_overlayfs, diff_native, events, tasks,
);
