//! The transfer service of this daemon.

use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::progress::Sink;
use stowd_core::registry::Registries;
use stowd_core::snapshots::Snapshotters;
use stowd_core::transfer::{Destination, Source, Transfer};
use stowd_core::{Error, Result, Scope, content, diff, images, leases};

/// What transfers work with.
#[derive(Clone)]
pub struct Parts {
    /// Where blobs are kept.
    pub content: Arc<dyn content::Store>,
    /// Where names are kept.
    pub images: Arc<dyn images::Store>,
    /// What protects blobs and snapshots until an image refers to them.
    pub leases: Arc<dyn leases::Store>,
    /// Where layers are unpacked to.
    pub snapshotters: Arc<dyn Snapshotters>,
    /// Unpacks layers.
    pub applier: Arc<dyn diff::Applier>,
    /// Speaks to registries.
    pub registries: Arc<dyn Registries>,
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most blobs downloaded at once.
    pub max_concurrent_downloads: usize,
    /// The most layers unpacked at once.
    pub max_concurrent_unpacks: usize,
    /// The most blobs uploaded at once.
    pub max_concurrent_uploads: usize,
    /// Where images are unpacked that name no snapshotter.
    pub default_snapshotter: String,
    /// A folder with `hosts.toml` files for requests that name none; empty means none.
    pub registry_config_path: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_downloads: 3,
            max_concurrent_unpacks: std::thread::available_parallelism().map_or(2, usize::from),
            max_concurrent_uploads: 3,
            default_snapshotter: "overlayfs".to_owned(),
            registry_config_path: String::new(),
        }
    }
}

/// Moves images between registries, archives and this daemon's stores.
pub struct Local {
    #[expect(dead_code, reason = "used by the transfers")]
    parts: Parts,
    #[expect(dead_code, reason = "used by the transfers")]
    config: Config,
}

impl Local {
    /// Puts the service together.
    pub fn new(parts: Parts, config: Config) -> Self {
        Self { parts, config }
    }
}

#[async_trait]
impl Transfer for Local {
    async fn transfer(
        &self,
        _scope: &Scope,
        _source: Source,
        _destination: Destination,
        _progress: Arc<dyn Sink>,
    ) -> Result<()> {
        Err(Error::not_implemented("transfer"))
    }
}
