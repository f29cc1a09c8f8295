//! What a failed pull leaves for the next try.
//!
//! Without a lease, all that a pull has brought would be collected as soon as it fails, and a
//! registry that breaks off now and then would have to send a big image in one go. So what came is
//! held for a while under a lease whose name follows from the image's: the next pull of it goes on
//! from there, and gives it up when it is done.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use stowd_core::images::Collect;
use stowd_core::leases::Resource;
use stowd_core::{Digest, Error, ErrorKind, Labels, Result, Scope, labels};

use crate::job::{Job, Shared};
use crate::lease::expiry;

/// How long the remains are held: longer than anything waits that tries again by itself.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// Holds what a failed pull of an image has brought, if another try could do better.
pub(crate) async fn keep(job: &Job, name: &str, error: &Error) {
    let passing = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded);
    if !passing {
        return;
    }
    if let Err(error) = try_keep(job, name).await {
        tracing::warn!(%error, name, "what a failed pull has brought is not kept");
    }
}

/// Gives up what an earlier pull of an image has left.
pub(crate) async fn give_up(shared: &Shared, scope: &Scope, name: &str) {
    let (leases, lease) = (&shared.parts.leases, lease(name));
    let scope = Scope { lease: None, ..scope.clone() };
    // Asking first: there is mostly none, and deleting costs a write.
    if leases.resources(&scope, &lease).await.is_ok() {
        let _ = leases.delete(&scope, &lease, Collect::Later).await;
    }
}

async fn try_keep(job: &Job, name: &str) -> Result<()> {
    let (leases, lease) = (&job.shared.parts.leases, lease(name));
    let scope = Scope { lease: None, ..job.scope.clone() };
    let mut kept = job.notes().clone();
    if kept.is_empty() {
        return Ok(());
    }
    // An older lease is made anew: its time of expiry cannot be changed.
    if let Ok(before) = leases.resources(&scope, &lease).await {
        kept.extend(before);
        leases.delete(&scope, &lease, Collect::Later).await?;
    }
    let made = Labels::from([
        (labels::GC_EXPIRE.to_owned(), expiry(LIFE)?),
        (labels::GC_FLAT.to_owned(), "true".to_owned()),
    ]);
    leases.create(&scope, &lease, made).await?;
    for resource in kept {
        leases.add_resource(&scope, &lease, resource).await?;
    }
    Ok(())
}

fn lease(name: &str) -> String {
    let digest = Digest::of(name.as_bytes());
    format!("remains-{}", digest.hex().get(..16).unwrap_or_default())
}

impl Job {
    /// Notes that a blob or an ingest came here.
    pub(crate) fn note(&self, kind: &str, id: &str) {
        let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
        self.notes().insert(resource);
    }

    fn notes(&self) -> MutexGuard<'_, BTreeSet<Resource>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
