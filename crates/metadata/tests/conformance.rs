//! The rules of the contracts, on the database over the real blob store and the real drivers.

use std::sync::Arc;

use stowd_core::events::Publisher;
use stowd_core::snapshots::Driver;
use stowd_core::{Labels, Namespace, Scope};
use stowd_metadata::{Config, Metadata, Parts};
use stowd_testing::conformance::{self, containers, content, images, leases, snapshots};

/// Nobody listens.
struct Deaf;

impl Publisher for Deaf {
    fn publish(&self, _: &Namespace, _: stowd_core::events::Event) {}
}

struct Bench {
    metadata: Arc<Metadata>,
    next: std::sync::atomic::AtomicU32,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let native = stowd_snapshots::native::Native::new(folder.path().join("native")).unwrap();
        let overlay = stowd_snapshots::overlayfs::Overlay::new(
            folder.path().join("overlayfs"),
            stowd_snapshots::overlayfs::Config::default(),
        )
        .unwrap();
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(native), Arc::new(overlay)];
        let blobs = stowd_content::open(folder.path().join("content")).await.unwrap();
        let parts = Parts { blobs, drivers, publisher: Arc::new(Deaf) };
        let metadata =
            Metadata::open(Config::new(folder.path().join("metadata")), parts).await.unwrap();
        Self { metadata, next: 0.into(), folder }
    }

    fn scope(&self) -> Scope {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Scope::new(Namespace::new(format!("n{next}")).unwrap())
    }

    /// A namespace under a lease: garbage collection may come at any time.
    async fn leased(&self) -> Scope {
        let scope = self.scope();
        self.metadata.leases().create(&scope, "held", Labels::new()).await.unwrap();
        scope.with_lease("held")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_keeps_its_rules() {
    let bench = Bench::new().await;
    conformance::run("content", content::CHECKS, async |_| content::Subject {
        store: bench.metadata.content(),
        scope: bench.leased().await,
        other: bench.leased().await,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("images", images::CHECKS, async |_| images::Subject {
        images: bench.metadata.images(),
        content: bench.metadata.content(),
        leases: bench.metadata.leases(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("containers", containers::CHECKS, async |_| containers::Subject {
        containers: bench.metadata.containers(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_collection_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("leases", leases::CHECKS, async |_| leases::Subject {
        leases: bench.metadata.leases(),
        content: bench.metadata.content(),
        snapshotter: bench.metadata.snapshotters().snapshotter("native").unwrap(),
        snapshotter_name: "native".to_owned(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

async fn snapshots_on(name: &str) {
    let bench = Bench::new().await;
    conformance::run(name, snapshots::CHECKS, async |check| {
        let folder = bench.folder.path().join(format!("{name}-{check}"));
        std::fs::create_dir(&folder).unwrap();
        snapshots::Subject {
            snapshotter: bench.metadata.snapshotters().snapshotter(name).unwrap(),
            scope: bench.leased().await,
            other: bench.leased().await,
            folder,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlayfs_snapshots_keep_their_rules() {
    stowd_testing::need!(root, overlayfs);
    snapshots_on("overlayfs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_snapshots_keep_their_rules() {
    stowd_testing::need!(root);
    snapshots_on("native").await;
}
