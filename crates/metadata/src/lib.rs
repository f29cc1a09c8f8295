//! The namespaced database over content and snapshot drivers.
//!
//! One transactional file keeps everything that stowd knows by name: namespaces, leases, images,
//! containers, the labels of blobs, ingests and snapshots. [`Metadata::open`] puts it over a plain
//! blob store and the snapshot drivers and hands out the contracts' namespaced faces.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stowd_core::content::Blobs;
use stowd_core::events::Publisher;
use stowd_core::snapshots::{Driver, Snapshotters};
use stowd_core::{Error, Result, containers, content, images, leases, namespaces};

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
    /// Where events go after their commit.
    pub publisher: Arc<dyn Publisher>,
}

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Leases, images, ingests, blobs and snapshots that were removed from the database.
    pub objects: u64,
    /// Blobs, ingests and file trees that were removed from disk.
    pub files: u64,
    /// How long marking and sweeping the database took, without the removal of files.
    pub elapsed: Duration,
}

/// The open database and the contracts over it.
pub struct Metadata {
    content: Arc<dyn content::Store>,
    snapshotters: Arc<dyn Snapshotters>,
    images: Arc<dyn images::Store>,
    containers: Arc<dyn containers::Store>,
    leases: Arc<dyn leases::Store>,
    namespaces: Arc<dyn namespaces::Store>,
}

impl Metadata {
    /// Opens the database, making it when it is missing, and starts its collector.
    ///
    /// # Errors
    /// `DataLoss` when the file is damaged, `FailedPrecondition` when it is in use or was written
    /// by a newer stowd; the file is left as it is.
    pub async fn open(config: Config, parts: Parts) -> Result<Arc<Self>> {
        let _ = (config, parts);
        Err(Error::not_implemented("the metadata database"))
    }

    /// Returns the content store.
    pub fn content(&self) -> Arc<dyn content::Store> {
        self.content.clone()
    }

    /// Returns the snapshotters, one for each driver.
    pub fn snapshotters(&self) -> Arc<dyn Snapshotters> {
        self.snapshotters.clone()
    }

    /// Returns the image store.
    pub fn images(&self) -> Arc<dyn images::Store> {
        self.images.clone()
    }

    /// Returns the container store.
    pub fn containers(&self) -> Arc<dyn containers::Store> {
        self.containers.clone()
    }

    /// Returns the lease store.
    pub fn leases(&self) -> Arc<dyn leases::Store> {
        self.leases.clone()
    }

    /// Returns the store of namespaces.
    pub fn namespaces(&self) -> Arc<dyn namespaces::Store> {
        self.namespaces.clone()
    }

    /// Runs a garbage collection that begins after this call, and waits for its end.
    ///
    /// # Errors
    /// When the database or a store below it fails.
    pub async fn collect(&self) -> Result<Collected> {
        Err(Error::not_implemented("garbage collection"))
    }

    /// Ends the collector, lets queued calls finish and closes the file. Later calls fail with
    /// `Unavailable`.
    pub async fn shutdown(&self) {}
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
