//! The namespaced database over content and snapshot drivers.
//!
//! One transactional file keeps everything that stowd knows by name: namespaces, leases, images,
//! containers, sandboxes, the labels of blobs, ingests and snapshots. [`Metadata::open`] puts it over a plain
//! blob store and the snapshot drivers and hands out the contracts' namespaced faces.
//!
//! # How it works
//!
//! All records lie in one table (`key` says under which keys, `record` what they hold). Reads see a
//! consistent view and wait for nobody. Calls that write are closures that one thread runs and
//! commits together (`queue`): each is whole or taken back alone, all share one flush, and each is
//! answered, and its events published, after it.
//!
//! Files and records change in an order that leaves, after a crash, files without records and
//! never the reverse: bytes, trees and mounts are made before their record and removed after it. The first
//! collection looks for such files and removes them (`reconcile`); `collector` finds records that
//! nothing refers to any more (`mark`), and `remover` removes their files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stowd_core::content::Blobs;
use stowd_core::events::Publisher;
use stowd_core::mounts::Mounter;
use stowd_core::snapshots::{Driver, Snapshotters, TreeId};
use stowd_core::{Error, Result};

mod activations;
mod backend;
mod collector;
mod containers;
mod content;
mod database;
mod fields;
mod images;
mod ingest;
mod inner;
mod key;
mod leases;
mod mark;
mod namespaces;
mod queue;
mod reconcile;
mod record;
mod remover;
mod sandboxes;
mod snapshots;
mod transaction;

use crate::activations::Activations;
use crate::collector::Watcher;
use crate::database::Database;
use crate::inner::{BytesLock, Inner, Numbers};
use crate::queue::Queue;
use crate::remover::Remover;

/// Where the database lives and how it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The directory that holds the database file; made when missing. In the daemon
    /// `<root>/io.containerd.metadata.v1.bolt`.
    pub root: PathBuf,
    /// Who may use a blob that another namespace has (containerd's `content_sharing_policy`).
    pub sharing: Sharing,
    /// The most bytes of database pages kept in memory.
    pub cache: usize,
    /// When garbage is collected.
    pub collector: CollectorConfig,
}

/// Who may use a blob that another namespace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Who can name its digest gets it without sending it again.
    #[default]
    Shared,
    /// Every namespace must send the bytes itself, unless one that has them is labelled
    /// `containerd.io/namespace.shareable=true`.
    Isolated,
}

/// When garbage is collected: containerd's scheduler, key by key.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectorConfig {
    /// The share of time that collections may take, at most 0.5.
    pub pause_threshold: f64,
    /// Deletions that start a collection at once; 0 leaves them to the next due one.
    pub deletion_threshold: u32,
    /// Commits after which the next due collection runs though nothing was deleted; 0 for never.
    pub mutation_threshold: u32,
    /// How long a triggered collection is put off.
    pub schedule_delay: Duration,
    /// How long after the start the first collection runs.
    pub startup_delay: Duration,
}

/// What the database stands on.
pub struct Parts {
    /// The plain store of bytes.
    pub blobs: Arc<dyn Blobs>,
    /// The snapshot drivers; their names become the snapshotters' names.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// What makes the mounts of activations, where there is any.
    pub mounter: Option<Arc<dyn Mounter>>,
    /// Where events go after their commit.
    pub publisher: Arc<dyn Publisher>,
}

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Leases, images, ingests, blobs, snapshots and activations that were removed from the database.
    pub objects: u64,
    /// Blobs, ingests and file trees that were removed from disk, and activations that were unmounted.
    pub files: u64,
    /// How long marking and sweeping the database took, without the removal of files.
    pub elapsed: Duration,
}

/// The open database and the contracts over it.
pub struct Metadata {
    inner: Arc<Inner>,
    snapshotters: Arc<snapshots::All>,
}

impl Metadata {
    /// Opens the database, making it when it is missing, and starts its collector.
    ///
    /// # Errors
    /// `DataLoss` when the file is damaged, `FailedPrecondition` when it is in use or was written
    /// by a newer stowd; the file is left as it is.
    pub async fn open(config: Config, parts: Parts) -> Result<Arc<Self>> {
        let (root, cache) = (config.root.clone(), config.cache);
        let database =
            tokio::task::spawn_blocking(move || Database::open(&root, cache))
                .await
                .map_err(|error| Error::internal(format_args!("open the database: {error}")))??;
        let database = Arc::new(database);
        let last = reconcile::last_tree(&database, &parts.drivers).await?;
        let activations = Activations::open(&database, parts.mounter).await?;
        let (remover, work) = Remover::new();
        let (collector, signals) = collector::Handle::new();
        let watcher = Watcher { collector: collector.clone(), remover: remover.clone() };
        let queue = Queue::start(database.clone(), parts.publisher, Arc::new(watcher))?;
        let drivers: BTreeMap<_, _> =
            parts.drivers.into_iter().map(|driver| (driver.name().to_owned(), driver)).collect();
        let inner = Arc::new(Inner {
            database,
            queue,
            blobs: parts.blobs,
            drivers,
            sharing: config.sharing,
            remover,
            collector,
            trees: Numbers::new(last, TreeId),
            bytes: BytesLock::default(),
            activations,
        });
        activations::forget_broken(&inner).await?;
        tokio::spawn(remover::run(Arc::downgrade(&inner), work));
        let collecting =
            collector::run(Arc::downgrade(&inner), config.collector, config.root, signals);
        tokio::spawn(collecting);
        let named = |(name, driver): (&String, &Arc<dyn Driver>)| {
            let named = snapshots::Named { inner: inner.clone(), driver: driver.clone() };
            (name.clone(), Arc::new(named))
        };
        let snapshotters = Arc::new(snapshots::All(inner.drivers.iter().map(named).collect()));
        Ok(Arc::new(Self { inner, snapshotters }))
    }

    /// Returns the content store.
    pub fn content(&self) -> Arc<dyn stowd_core::content::Store> {
        Arc::new(content::Content(self.inner.clone()))
    }

    /// Returns the snapshotters, one for each driver.
    pub fn snapshotters(&self) -> Arc<dyn Snapshotters> {
        self.snapshotters.clone()
    }

    /// Returns the image store.
    pub fn images(&self) -> Arc<dyn stowd_core::images::Store> {
        Arc::new(images::Images(self.inner.clone()))
    }

    /// Returns the container store.
    pub fn containers(&self) -> Arc<dyn stowd_core::containers::Store> {
        Arc::new(containers::Containers(self.inner.clone()))
    }

    /// Returns the store of sandboxes.
    pub fn sandboxes(&self) -> Arc<dyn stowd_core::sandboxes::Store> {
        Arc::new(sandboxes::Sandboxes(self.inner.clone()))
    }

    /// Returns the lease store.
    pub fn leases(&self) -> Arc<dyn stowd_core::leases::Store> {
        Arc::new(leases::Leases(self.inner.clone()))
    }

    /// Returns the manager of mounts; without a mounter it has nothing to do, ever.
    pub fn mounts(&self) -> Arc<dyn stowd_core::mounts::Manager> {
        Arc::new(activations::Mounts(self.inner.clone()))
    }

    /// Returns the store of namespaces.
    pub fn namespaces(&self) -> Arc<dyn stowd_core::namespaces::Store> {
        Arc::new(namespaces::Namespaces(self.inner.clone()))
    }

    /// Runs a garbage collection that begins after this call, and waits for its end. The first
    /// one since the database was opened also removes files that a crash left without records.
    ///
    /// # Errors
    /// When the database or a store below it fails.
    pub async fn collect(&self) -> Result<Collected> {
        self.inner.collector.collect().await
    }

    /// Changes when garbage is collected, from the next commit on. `startup_delay` has had its time.
    pub fn reschedule(&self, config: CollectorConfig) {
        self.inner.collector.configure(config);
    }

    /// Ends the collector, lets queued calls finish and closes the file. Later calls fail with
    /// `Unavailable`.
    pub async fn shutdown(&self) {
        self.inner.collector.stop().await;
        self.inner.queue.stop().await;
    }
}

impl Config {
    /// Returns the defaults for a database in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            sharing: Sharing::default(),
            cache: 2 << 20,
            collector: CollectorConfig::default(),
        }
    }
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            pause_threshold: 0.02,
            deletion_threshold: 0,
            mutation_threshold: 100,
            schedule_delay: Duration::ZERO,
            startup_delay: Duration::from_millis(100),
        }
    }
}
