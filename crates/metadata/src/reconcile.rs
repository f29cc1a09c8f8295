//! What happens after a start to the files that a crash left without records.
//!
//! It goes on while callers work. Files are listed first and records looked up then, so that a file
//! in the making is taken for a stray at worst, and those the remover knows to leave alone.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use stowd_core::snapshots::Driver;
use stowd_core::{Digest, Result};

use crate::database::{Database, Read as _, decode};
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::{Counter, IngestRecord};
use crate::snapshots::{LAST_TREE, orphans};
use crate::transaction::Freed;

/// containerd's own database, in the same folder.
const CONTAINERD: &str = "meta.db";

/// Returns the highest number that a tree has, on record or on disk.
pub(crate) async fn last_tree(database: &Database, drivers: &[Arc<dyn Driver>]) -> Result<u64> {
    let counter: Option<Counter> = database.view(|view| view.get(&key::books(LAST_TREE)))?;
    let mut last = counter.unwrap_or_default().last;
    for driver in drivers {
        let highest = driver.list().await?.into_iter().max();
        last = last.max(highest.map_or(0, |tree| tree.0));
    }
    Ok(last)
}

/// Gives blobs, ingests and trees without records to the remover.
///
/// Beside containerd's database it removes nothing: the files may be containerd's, which may be
/// started on this root again.
pub(crate) async fn run(inner: &Arc<Inner>, root: &Path) -> Result<()> {
    if root.join(CONTAINERD).exists() {
        tracing::warn!(
            database = %root.join(CONTAINERD).display(),
            "this root was containerd's: its images and containers are not known here, and its files are kept"
        );
        return Ok(());
    }
    let mut freed = Freed::default();
    let blobs: HashSet<Digest> =
        inner.blobs.list().await?.into_iter().map(|(digest, _)| digest).collect();
    let ingests = inner.blobs.ingests().await?;
    let absent: Vec<Digest> = inner.database.view(|view| {
        let mut held = HashSet::new();
        view.walk(&Key::new::<0>(kind::HOLDER, []), None, |key, _| {
            if let Some([digest, _, _]) = key::parts(key)
                && let Ok(digest) = digest.parse::<Digest>()
            {
                held.insert(digest);
            }
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        freed.blobs.extend(blobs.difference(&held).cloned());
        let mut known = HashSet::new();
        view.walk(&Key::new::<0>(kind::INGEST, []), None, |key, value| {
            known.insert(decode::<IngestRecord>(key, value)?.key);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        freed.ingests.extend(ingests.into_iter().filter(|key| !known.contains(key)));
        Ok(held.difference(&blobs).cloned().collect())
    })?;
    let mut lost = 0;
    for digest in absent {
        // It may have been committed since the list was made.
        lost += usize::from(inner.blobs.size(&digest).await.is_err());
    }
    if lost > 0 {
        // Their records stay: they say what the blobs referred to, and whoever sends the bytes
        // again makes them whole.
        tracing::warn!(lost, "blobs are on record whose files are gone; pull their images again");
    }
    for driver in inner.drivers.values() {
        let trees = orphans(inner, driver).await?;
        freed.trees.extend(trees.into_iter().map(|tree| (driver.name().to_owned(), tree)));
    }
    let found = freed.blobs.len() + freed.ingests.len() + freed.trees.len();
    if found > 0 {
        tracing::info!(
            blobs = freed.blobs.len(),
            ingests = freed.ingests.len(),
            trees = freed.trees.len(),
            "removing files that no record knows"
        );
        inner.remover.remove(freed);
    }
    Ok(())
}
