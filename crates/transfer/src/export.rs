//! Images → archive.

use std::io::Write;
use std::sync::Arc;

use stowd_core::progress::Sink;
use stowd_core::transfer::Export;
use stowd_core::{Error, Result, Scope};
use stowd_images::archive::{self, Exported};

use crate::job::Shared;
use crate::lease::hold;
use crate::tracker::Tracker;

/// Exports images. The scope has a lease, which keeps what is being written.
pub(crate) async fn export(
    shared: &Shared,
    scope: &Scope,
    names: &[String],
    stream: Box<dyn Write + Send>,
    options: &Export,
    progress: Arc<dyn Sink>,
) -> Result<()> {
    let tracker = Tracker::outline(progress);
    tracker.say("Exporting");
    let mut images = Vec::new();
    for name in names {
        let image = shared.parts.images.get(scope, name).await?;
        // The image may be deleted meanwhile.
        hold(shared, scope, "content", image.target.digest.as_str()).await?;
        images.push(Exported { name: image.name, target: image.target });
    }
    if images.is_empty() {
        return Err(Error::invalid("no image to export"));
    }
    archive::export(Arc::clone(&shared.parts.content), scope, &images, options, stream).await?;
    tracker.say("Completed export");
    Ok(())
}
