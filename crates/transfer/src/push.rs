//! Images → registry.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stowd_core::progress::Sink;
use stowd_core::registry::{Pushed, Repository, Tagged};
use stowd_core::transfer::RegistryRef;
use stowd_core::{Descriptor, Error, Result, Scope};
use stowd_images::document::Document;
use stowd_images::{Choice, graph};

use crate::fetch::source_label;
use crate::job::Shared;
use crate::lease::hold;
use crate::tracker::Tracker;

/// Pushes an image: layers and configs side by side, then manifests, each after all that it leads
/// to. The scope has a lease, which keeps what is being sent.
pub(crate) async fn push(
    shared: &Arc<Shared>,
    scope: &Scope,
    names: &[String],
    mut to: RegistryRef,
    progress: Arc<dyn Sink>,
) -> Result<()> {
    let name = names.first().ok_or_else(|| Error::invalid("no image to push"))?;
    let image = shared.parts.images.get(scope, name).await?;
    hold(shared, scope, "content", image.target.digest.as_str()).await?;
    let tracker = Arc::new(Tracker::new(progress, name));
    let destination = format!("OCI Registry ({})", to.reference);
    if to.config_path.is_empty() {
        to.config_path = shared.registry_config_path();
    }
    tracker.say(format!("Pushing to {destination}"));
    tracker.image("pushing content", name, &image.target);
    let repository = shared.parts.registries.repository(&to)?;
    let content = &*shared.parts.content;
    let blobs = graph::reachable(content, scope, &image.target, &Choice::everything())
        .await
        .map_err(lacking)?;
    for blob in &blobs {
        tracker.add(blob, None);
    }
    let (documents, others): (Vec<_>, Vec<_>) =
        blobs.into_iter().partition(|it| Document::is_one(&it.media_type));
    let sending = Sending { shared, scope, repository: &*repository, tracker: &tracker };
    let sending = &sending;
    stream::iter(others)
        .map(|blob| async move { sending.send(&blob, Tagged::No).await })
        .buffer_unordered(shared.config.max_concurrent_uploads.max(1))
        .try_collect::<()>()
        .await?;
    // What leads comes before what it leads to; registries want it after.
    for document in documents.iter().rev() {
        let tagged = if document.digest == image.target.digest { Tagged::Yes } else { Tagged::No };
        sending.send(document, tagged).await?;
    }
    tracker.image("pushed content", name, &image.target);
    tracker.say(format!("Completed push to {destination}"));
    Ok(())
}

/// Says how content that is missing comes here: mostly it is another platform's.
fn lacking(error: Error) -> Error {
    if !error.is_not_found() {
        return error;
    }
    error.hint("content of some platform is not here: pull the image for all platforms first")
}

struct Sending<'a> {
    shared: &'a Shared,
    scope: &'a Scope,
    repository: &'a dyn Repository,
    tracker: &'a Arc<Tracker>,
}

impl Sending<'_> {
    async fn send(&self, descriptor: &Descriptor, tagged: Tagged) -> Result<()> {
        let content = &self.shared.parts.content;
        let blob = content.open(self.scope, &descriptor.digest).await.map_err(lacking)?;
        let info = content.info(self.scope, &descriptor.digest).await?;
        let reference = self.repository.reference();
        let sources = info.labels.get(&source_label(reference.host()));
        let mount_from: Vec<String> = sources
            .map_or("", String::as_str)
            .split(',')
            .filter(|it| !it.is_empty() && *it != reference.repository())
            .map(str::to_owned)
            .collect();
        let (tracker, shown) = (Arc::clone(self.tracker), descriptor.clone());
        let sent = Arc::new(move |bytes| tracker.bytes("uploading", &shown, bytes));
        let pushed = self.repository.push(descriptor, blob, &mount_from, tagged, sent).await?;
        let event = match pushed {
            Pushed::Existed => "already exists",
            Pushed::Mounted | Pushed::Uploaded => "complete",
        };
        self.tracker.done(event, descriptor);
        Ok(())
    }
}
