//! The lease that holds what a transfer brings until an image refers to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use stowd_core::images::Collect;
use stowd_core::leases::{Resource, Store};
use stowd_core::{Error, Labels, Result, Scope, labels};

use crate::job::Shared;

/// How long a lease counts whose transfer never ended, as in containerd.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A lease of this transfer's own, or the caller's.
pub(crate) struct Held {
    store: Arc<dyn Store>,
    /// The scope to work in.
    pub(crate) scope: Scope,
    own: Option<String>,
}

impl Held {
    /// Takes a lease, unless the scope has one.
    pub(crate) async fn take(store: Arc<dyn Store>, scope: &Scope) -> Result<Self> {
        if scope.lease.is_some() {
            return Ok(Self { store, scope: scope.clone(), own: None });
        }
        let id = unique()?;
        let labels = Labels::from([(labels::GC_EXPIRE.to_owned(), expiry(LIFE)?)]);
        store.create(scope, &id, labels).await?;
        Ok(Self { store, scope: scope.clone().with_lease(id.clone()), own: Some(id) })
    }

    /// Says whether the lease goes with the transfer.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Gives the lease back, whether the transfer did well or not.
    pub(crate) async fn release(self) {
        let Some(id) = self.own else { return };
        let scope = Scope { lease: None, ..self.scope };
        if let Err(error) = self.store.delete(&scope, &id, Collect::Later).await {
            tracing::warn!(%error, lease = id, "lease of a transfer stays until it expires");
        }
    }
}

/// Returns a time of expiry as leases carry it. In whole seconds: not everyone who parses RFC 3339
/// knows fractions.
pub(crate) fn expiry(life: Duration) -> Result<String> {
    let at = Timestamp::try_from(SystemTime::now() + life)
        .map_err(|error| Error::internal(format_args!("time of expiry: {error}")))?;
    Ok(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Adds something to the scope's lease, with all that it refers to.
pub(crate) async fn hold(shared: &Shared, scope: &Scope, kind: &str, id: &str) -> Result<()> {
    let Some(lease) = &scope.lease else { return Ok(()) };
    let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
    shared.parts.leases.add_resource(scope, lease, resource).await
}

/// Returns a name that nothing else has: the time and a few random characters, as containerd's.
pub(crate) fn unique() -> Result<String> {
    let mut random = [0; 6];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("get random bytes", &error.into()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{}", now.as_nanos(), URL_SAFE_NO_PAD.encode(random)))
}
