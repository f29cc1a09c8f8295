//! Containers: what is needed to run something, kept between runs.
//!
//! A container is metadata only: image, runtime, OCI spec, and the snapshot with its root file
//! system. A *task* ([`crate::tasks`]) is a container that runs. A container keeps its snapshot
//! from garbage collection.
//!
//! # Errors
//!
//! `NotFound`: no such container here. `AlreadyExists`: create of an id in use. `InvalidArgument`:
//! misspelt id, missing runtime name, missing spec, or an update of what cannot change (runtime
//! name; snapshotter; snapshot key only with an explicit field path).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{self, Adaptor, Filters};
use crate::{Any, Labels, Result, Scope};

/// The type of [`Container::spec`], whose value is JSON.
pub const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A container's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// The name of the image it was made from; may be empty.
    pub image: String,
    /// What runs it.
    pub runtime: Runtime,
    /// The OCI runtime spec, in JSON.
    pub spec: Option<Any>,
    /// The snapshotter that holds its root file system; may be empty.
    pub snapshotter: String,
    /// The key of its root file system; may be empty.
    pub snapshot_key: String,
    /// What clients keep with it, by a name of theirs.
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to; may be empty.
    pub sandbox_id: String,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
}

/// What runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// The shim: `io.containerd.runc.v2`, or a path.
    pub name: String,
    /// Options for the shim.
    pub options: Option<Any>,
}

/// The namespaced store of containers.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns a container.
    async fn get(&self, scope: &Scope, id: &str) -> Result<Container>;

    /// Lists the namespace's containers in the order of their ids.
    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Container>>;

    /// Creates a container; its times are set here.
    async fn create(&self, scope: &Scope, container: Container) -> Result<Container>;

    /// Changes what `fieldpaths` name (`labels[.<key>]`, `spec`, `extensions[.<name>]`, `image`,
    /// `snapshotkey`), or, when empty, everything that can change.
    async fn update(
        &self,
        scope: &Scope,
        container: Container,
        fieldpaths: &[String],
    ) -> Result<Container>;

    /// Deletes a container. Whoever calls has made sure that it has no task.
    async fn delete(&self, scope: &Scope, id: &str) -> Result<()>;
}

impl Adaptor for Container {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(self.id.as_str().into()),
            ["runtime", "name"] => Some(self.runtime.name.as_str().into()),
            ["image"] => Some(self.image.as_str().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}
