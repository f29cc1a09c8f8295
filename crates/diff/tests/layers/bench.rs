//! The stores of a daemon without the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stowd_core::events::{Event, Publisher};
use stowd_core::snapshots::{Driver, Snapshotter};
use stowd_core::{Labels, Namespace, Scope, content};
use stowd_diff::{Config, Walking};
use stowd_metadata::{Metadata, Parts};
use stowd_testing::Scratch;

/// Nobody listens.
struct Deaf;

impl Publisher for Deaf {
    fn publish(&self, _: &Namespace, _: Event) {}
}

/// A differ and all that it works on, in a folder of its own.
pub(crate) struct Bench {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) walking: Arc<Walking>,
    next: AtomicU32,
    scratch: Scratch,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let scratch = Scratch::new();
        let native = stowd_snapshots::native::Native::new(scratch.join("native")).unwrap();
        let overlay = stowd_snapshots::overlayfs::Overlay::new(
            scratch.join("overlayfs"),
            stowd_snapshots::overlayfs::Config::default(),
        )
        .unwrap();
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(native), Arc::new(overlay)];
        let blobs = stowd_content::open(scratch.join("content")).await.unwrap();
        let parts = Parts { blobs, drivers, publisher: Arc::new(Deaf) };
        let config = stowd_metadata::Config::new(scratch.join("metadata"));
        let metadata = Metadata::open(config, parts).await.unwrap();
        let walking = Arc::new(Walking::new(metadata.content(), Config::default()));
        Self { metadata, walking, next: 0.into(), scratch }
    }

    pub(crate) fn content(&self) -> Arc<dyn content::Store> {
        self.metadata.content()
    }

    pub(crate) fn snapshotter(&self, name: &str) -> Arc<dyn Snapshotter> {
        self.metadata.snapshotters().snapshotter(name).unwrap()
    }

    /// Returns a namespace that nothing is in, under a lease.
    pub(crate) async fn scope(&self) -> Scope {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let scope = Scope::new(Namespace::new(format!("n{next}")).unwrap());
        self.metadata.leases().create(&scope, "held", Labels::new()).await.unwrap();
        scope.with_lease("held")
    }

    /// Makes a folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.scratch.folder(name)
    }
}
