//! Images → images.

use stowd_core::transfer::Store;
use stowd_core::{Error, Result, Scope};

use crate::job::Shared;
use crate::record;

/// Gives an image further names.
pub(crate) async fn tag(
    shared: &Shared,
    scope: &Scope,
    names: &[String],
    store: &Store,
) -> Result<()> {
    let name = names.first().ok_or_else(|| Error::invalid("no image to tag"))?;
    let images = &*shared.parts.images;
    let target = images.get(scope, name).await?.target;
    let records = record::of_target(store, &target);
    if records.is_empty() {
        return Err(Error::not_found("no image name found"));
    }
    for image in records {
        record::write(images, scope, image).await?;
    }
    Ok(())
}
