//! The content-addressed blob store on disk, in containerd's layout.
//!
//! ```text
//! <root>/blobs/<algorithm>/<hex>       whole, durable, mode 0444
//! <root>/ingest/<sha256 of key>/ref    the key
//!                              /data   what was written so far
//!                              /startedat, /updatedat    RFC 3339
//!                              /total  the length expected, in decimal, where it is known
//! ```
//!
//! A blob appears by a rename, after its bytes are durable and before the commit returns, so a
//! crash at any point leaves either an ingest that can be resumed or a whole blob. What else a
//! crash can leave (an ingest half made or half removed) is swept away when the store is opened.
//!
//! # Who waits for the disk
//!
//! Calls are async, files are not. What the page cache answers in microseconds (a small write, a
//! read of cached data) is done in place; everything else goes to tokio's blocking threads. Hashing
//! runs beside writing, on a thread that exists only while there is something to hash, and works on
//! the very buffers that were handed in.

use std::path::PathBuf;
use std::sync::Arc;

use stowd_core::content::Blobs;
use stowd_core::{Error, Result};

mod blob;
mod directory;
mod hashing;
mod ingest;
mod locks;
mod store;
mod writer;

/// Opens the store in `root`, making it when it is missing. In the daemon
/// `<root>/io.containerd.content.v1.content`.
///
/// # Errors
/// When the directories cannot be made or read.
pub async fn open(root: impl Into<PathBuf>) -> Result<Arc<dyn Blobs>> {
    let root = root.into();
    let store = blocking(move || store::Store::open(root)).await?;
    Ok(Arc::new(store))
}

/// Runs file work on a blocking thread. The work goes on when the caller goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format_args!("blocking file work: {error}"))),
    }
}
