//! Leases: protection from garbage collection for what is not referred to yet.
//!
//! A client takes a lease, names it in the scope of its calls, and all that those calls make is
//! added to it. When the client is done, objects refer to each other, and the lease is deleted. A
//! lease may carry a time of expiry (`containerd.io/gc.expire`), after which it no longer counts,
//! and may be *flat* (`containerd.io/gc.flat`): it then protects what it names but not what that
//! refers to.
//!
//! # Errors
//!
//! `NotFound`: no such lease here. `AlreadyExists`: create of an id in use. `InvalidArgument`: a
//! kind of resource that a lease cannot hold.

use std::borrow::Cow;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{self, Adaptor, Filters};
use crate::images::Collect;
use crate::{Labels, Result, Scope};

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id; any text.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// When it was created.
    pub created: SystemTime,
}

/// Something that a lease protects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// `content`, `ingests`, `images` or `snapshots/<snapshotter>`.
    pub kind: String,
    /// A digest, a reference, a name, a key.
    pub id: String,
}

/// The namespaced store of leases.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates a lease.
    async fn create(&self, scope: &Scope, id: &str, labels: Labels) -> Result<Lease>;

    /// Deletes a lease; what only it protected is then free to be collected.
    async fn delete(&self, scope: &Scope, id: &str, collect: Collect) -> Result<()>;

    /// Lists the namespace's leases in the order of their ids.
    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Lease>>;

    /// Adds a resource, which need not exist.
    async fn add_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()>;

    /// Takes a resource out.
    async fn delete_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()>;

    /// Lists a lease's resources.
    async fn resources(&self, scope: &Scope, id: &str) -> Result<Vec<Resource>>;
}

impl Adaptor for Lease {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(self.id.as_str().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}
