//! The transfer service of this daemon.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use stowd_core::progress::Sink;
use stowd_core::registry::Registries;
use stowd_core::snapshots::Snapshotters;
use stowd_core::transfer::{Destination, Source, Store, Transfer};
use stowd_core::{Error, Result, Scope, content, diff, images, leases};
use stowd_images::Choice;

use crate::export::export;
use crate::import::import;
use crate::job::Shared;
use crate::lease::Held;
use crate::pull::pull;
use crate::push::push;
use crate::tag::tag;

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
    /// The most blobs downloaded at once, over all transfers. Default: 3, as in containerd.
    pub max_concurrent_downloads: usize,
    /// The most layers unpacked at once from the content store, and as many again while they
    /// download; over all transfers. Default: as many as there are processors.
    pub max_concurrent_unpacks: usize,
    /// The most blobs uploaded at once by a transfer. Default: 3, as in containerd.
    pub max_concurrent_uploads: usize,
    /// Where images are unpacked that name no snapshotter. Default: `overlayfs`.
    pub default_snapshotter: String,
    /// A folder with `hosts.toml` files for requests that name none; empty means none.
    /// Default: empty.
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
    shared: Arc<Shared>,
}

impl Local {
    /// Puts the service together.
    pub fn new(parts: Parts, config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(parts, config)) }
    }

    /// Changes [`Config::registry_config_path`], for transfers that begin from now on.
    pub fn set_registry_config_path(&self, path: String) {
        *self.shared.registry_config_path.write().unwrap_or_else(PoisonError::into_inner) = path;
    }
}

#[async_trait]
impl Transfer for Local {
    async fn transfer(
        &self,
        scope: &Scope,
        source: Source,
        destination: Destination,
        progress: Arc<dyn Sink>,
    ) -> Result<()> {
        let shared = &self.shared;
        let (source, destination) = match (source, destination) {
            // Nothing is brought that a lease would have to hold.
            (Source::Images(names), Destination::Images(store)) => {
                return tag(shared, scope, &names, &store).await;
            }
            pair => pair,
        };
        let held = Held::take(Arc::clone(&shared.parts.leases), scope).await?;
        let scope = &held.scope;
        let done = match (source, destination) {
            (Source::Registry(from), Destination::Images(store)) => {
                pull(shared, &held, from, &store, progress).await
            }
            (Source::Archive(stream), Destination::Images(store)) => {
                import(shared, scope, stream, &store, progress).await
            }
            (Source::Images(names), Destination::Archive(stream, options)) => {
                export(shared, scope, &names, stream, &options, progress).await
            }
            (Source::Images(names), Destination::Registry(to)) => {
                push(shared, scope, &names, to, progress).await
            }
            (_, _) => Err(Error::not_implemented("transfer without a stop in the image store")),
        };
        held.release().await;
        done
    }
}

/// Returns which part of an image a store wants.
pub(crate) fn choice(store: &Store) -> Choice {
    let choice = Choice::of(&store.platforms).limited(store.manifest_limit);
    if store.all_metadata { choice.with_metadata_of_all() } else { choice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        let config = Config::default();
        assert_eq!((config.max_concurrent_downloads, config.max_concurrent_uploads), (3, 3));
        assert!(config.max_concurrent_unpacks >= 1);
        assert_eq!(config.default_snapshotter, "overlayfs");
        assert_eq!(config.registry_config_path, "");
    }
}
