//! Registry → images.

use std::sync::Arc;

use stowd_core::progress::Sink;
use stowd_core::transfer::{RegistryRef, Store};
use stowd_core::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::arrival::Target;
use crate::fetch::source_label;
use crate::job::{Job, Origin, Shared};
use crate::lease::Held;
use crate::local::choice;
use crate::tracker::Tracker;
use crate::{record, remains};

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Pulls an image.
pub(crate) async fn pull(
    shared: &Arc<Shared>,
    held: &Held,
    mut from: RegistryRef,
    store: &Store,
    progress: Arc<dyn Sink>,
) -> Result<()> {
    let scope = &held.scope;
    let name = if store.name.is_empty() { &from.reference } else { &store.name }.clone();
    let tracker = Tracker::new(progress, &name);
    let origin = format!("OCI Registry ({})", from.reference);
    let targets = Target::find(shared, &store.unpack)?;
    if from.config_path.is_empty() {
        from.config_path = shared.registry_config_path();
    }
    tracker.say(format!("Resolving from {origin}"));
    let repository = shared.parts.registries.repository(&from)?;
    let root =
        repository.resolve().await.map_err(|error| error.context("failed to resolve image"))?;
    if root.media_type == SCHEMA_1 {
        return Err(Error::invalid("schema 1 image manifests are no longer supported"));
    }
    let records = record::of_target(store, &root);
    if records.is_empty() {
        return Err(Error::not_found("no image name found"));
    }
    tracker.say(format!("Pulling from {origin}"));
    tracker.image("fetching image content", &name, &root);
    let label = source_label(repository.reference().host());
    let job = Arc::new(Job {
        shared: Arc::clone(shared),
        scope: scope.clone(),
        tracker,
        origin: Origin::Registry { repository, label },
        failed: CancellationToken::new(),
        brought: Default::default(),
    });
    if let Err(error) = job.arrive(&root, &choice(store), &targets).await {
        if held.is_own() {
            remains::keep(&job, &name, &error).await;
        }
        return Err(error);
    }
    for image in records {
        let image = record::write(&*shared.parts.images, scope, image).await?;
        job.tracker.image("saved", &image.name, &image.target);
    }
    remains::give_up(shared, scope, &name).await;
    job.tracker.say(format!("Completed pull from {origin}"));
    Ok(())
}
