//! What an image takes.

use stowd_core::content::Store;
use stowd_core::{Descriptor, Platform, Result, Scope};

use crate::choice::Choice;
use crate::graph;

/// What an image's content comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes that its descriptors promise.
    pub promised: u64,
    /// The bytes of those blobs that are here.
    pub present: u64,
    /// Blobs that are not here.
    pub missing: usize,
}

/// Measures the content of an image for the best of these platforms; an empty list means all.
///
/// # Errors
/// `NotFound`: index or manifest is not here, or no manifest fits. `InvalidArgument`: a malformed
/// document.
pub async fn of(
    store: &dyn Store,
    scope: &Scope,
    target: &Descriptor,
    platforms: &[Platform],
) -> Result<Usage> {
    let choice = Choice::of(platforms).limited(usize::from(!platforms.is_empty()));
    let mut usage = Usage::default();
    for blob in graph::reachable(store, scope, target, &choice).await? {
        usage.promised = usage.promised.saturating_add(blob.size);
        match store.info(scope, &blob.digest).await {
            Ok(info) => usage.present = usage.present.saturating_add(info.size),
            Err(error) if error.is_not_found() => usage.missing += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(usage)
}
