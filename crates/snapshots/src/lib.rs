//! Drivers that keep snapshots' file trees on disk: [`overlayfs`] and [`native`].
//!
//! A driver knows trees by number and keeps no books: names, parents and labels are in the metadata
//! store, which calls it before it records a snapshot and after it has forgotten one
//! ([`stowd_core::snapshots::Driver`]). So a crash leaves trees without records, never records without
//! trees.
//!
//! All work on the disk is done on tokio's blocking threads, relative to directory descriptors, and
//! follows no symbolic link of a tree.
//!
//! Deliberately absent: names, transactions, namespaces, and any state that the disk does not hold.

mod copy;
mod flush;
mod ids;
pub mod native;
pub mod overlayfs;
mod trees;

pub use native::Native;
pub use overlayfs::Overlay;

use stowd_core::snapshots::Usage;
use stowd_core::{Error, Result};

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(job).await)
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        Err(if error.is_cancelled() {
            Error::canceled("snapshot driver is shutting down")
        } else {
            Error::internal(format_args!("snapshot driver: {error}"))
        })
    })
}

fn usage(usage: stowd_sys::tree::Usage) -> Usage {
    Usage { inodes: usage.inodes, size: usage.size }
}
