//! Archive → images.

use std::io::Read;
use std::sync::Arc;

use stowd_core::progress::Sink;
use stowd_core::transfer::Store;
use stowd_core::{Error, Result, Scope};
use stowd_images::{archive, graph};
use tokio_util::sync::CancellationToken;

use crate::arrival::Target;
use crate::job::{Job, Missing, Origin, Shared};
use crate::local::choice;
use crate::record;
use crate::tracker::Tracker;

/// Imports an archive's images. The scope has a lease.
pub(crate) async fn import(
    shared: &Arc<Shared>,
    scope: &Scope,
    stream: Box<dyn Read + Send>,
    store: &Store,
    progress: Arc<dyn Sink>,
) -> Result<()> {
    let tracker = Tracker::outline(progress);
    let targets = Target::find(shared, &store.unpack)?;
    tracker.say("Importing");
    let content = &shared.parts.content;
    let index = archive::import(Arc::clone(content), scope, stream).await?;
    let choice = choice(store);
    // Archives of all platforms often hold only those that their writer had.
    let missing = if choice.is_everything() { Missing::Passes } else { Missing::Fails };
    let job = Arc::new(Job {
        shared: Arc::clone(shared),
        scope: scope.clone(),
        tracker,
        origin: Origin::Store(missing),
        failed: CancellationToken::new(),
        brought: Default::default(),
    });
    let entries = graph::children(&**content, scope, &index).await?;
    if entries.is_empty() {
        return Err(Error::not_found("image might be filtered out"));
    }
    // The archive's index lists images side by side: its limit is none of theirs.
    let entries = choice.clone().limited(0).take(&index.digest, entries)?.whole;
    let mut records = record::of_target(store, &index);
    for entry in &entries {
        job.arrive(entry, &choice, &targets).await?;
        records.extend(record::of_entry(store, entry));
    }
    if records.is_empty() {
        tracing::warn!(index = %index.digest, "archive has no image of a name that was asked for");
    }
    for image in records {
        let image = record::write(&*shared.parts.images, scope, image).await?;
        job.tracker.image("saved", &image.name, &image.target);
    }
    job.tracker.say("Completed import");
    Ok(())
}
