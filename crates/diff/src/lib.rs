//! Layers ↔ file trees: applies a layer to mounts, and computes a layer from two sets of mounts.
//!
//! [`Walking`] implements both of the contracts of [`stowd_core::diff`].
//!
//! # Applying
//!
//! Four threads, side by side, pass big buffers on that are used again and again, so that a layer of
//! any size takes a few megabytes of memory:
//!
//! ```text
//! read (and verify) → expand ─┬→ hash (the diff id)
//!                             └→ parse the tar and write files
//! ```
//!
//! Nothing is mounted for it where the mounts are a directory or an overlay: files go straight into
//! the directory or the overlay's upper directory, whiteouts in overlayfs' own form. No name is looked
//! up outside the tree: parents are opened by openat2(2) with the tree as root, everything else happens
//! relative to their descriptors and follows no link.
//!
//! # Comparing
//!
//! Both trees are walked by the directories that they are made of, as overlayfs would show them, and
//! without mounting either. Where the trees have directories in common, only what the others hold is
//! looked at, so committing a container costs what it changed, not what its image holds.
//!
//! ```text
//! walk and write a tar ─┬→ hash (the diff id)
//!                       └→ compress → content store
//! ```
//!
//! What directories cannot tell by themselves (moved directories, files whose content lies elsewhere,
//! other file systems) is mounted in a namespace of its own, out of everybody's sight, and walked as the
//! kernel shows it. What counts as a change, and what a layer carries of it, is as containerd has it.
//!
//! # Stream processors
//!
//! Layers of media types that a [`Processor`] accepts go through its program first; see there.
//!
//! Deliberately absent: mounts that only a helper program can perform.

mod apply;
mod compare;
mod compression;
mod extract;
mod flow;
mod processor;
mod tar;

use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::content::Store;
use stowd_core::diff::{Applier, Apply, Compare, Comparer, Source};
use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Error, ErrorKind, Result, Scope};

/// The differ: known to clients as `io.containerd.differ.v1.walking`.
pub struct Walking {
    content: Arc<dyn Store>,
    config: Config,
}

/// What can be set for the differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Flushes the tree's file system after every layer, also where the call does not ask for it
    /// (containerd's `sync_fs`).
    pub sync: stowd_core::diff::Sync,
    /// Programs that layers of some media types go through before they are applied.
    pub processors: Vec<Processor>,
}

pub use processor::Processor;

impl Walking {
    /// Makes a differ that finds layers in, and writes them into, a content store.
    pub fn new(content: Arc<dyn Store>, config: Config) -> Self {
        Self { content, config }
    }
}

#[async_trait]
impl Applier for Walking {
    async fn apply(&self, scope: &Scope, mut apply: Apply, source: Source) -> Result<Descriptor> {
        if self.config.sync == stowd_core::diff::Sync::Now {
            apply.sync = stowd_core::diff::Sync::Now;
        }
        let digest = apply.layer.digest.clone();
        apply::apply(&self.content, &self.config.processors, scope, apply, source)
            .await
            .map_err(|error| error.context(format_args!("apply layer {digest}")))
    }
}

#[async_trait]
impl Comparer for Walking {
    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        compare: Compare,
    ) -> Result<Descriptor> {
        compare::compare(&self.content, scope, lower, upper, compare).await.map_err(|error| {
            match error.kind() {
                // What was asked for, not what went wrong.
                ErrorKind::NotImplemented => error,
                _ => error.context("compare trees"),
            }
        })
    }
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(Error::canceled("differ is shutting down")),
        Err(error) => Err(Error::internal(format_args!("differ: {error}"))),
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::internal("a thread of the differ panicked")))
}
