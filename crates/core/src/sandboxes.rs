//! Sandboxes: environments that containers run in, such as pods and virtual machines.
//!
//! A sandbox has two sides. Its *record* in the [`Store`] is metadata only, as a container's is; its
//! *instance* is kept by a [`Controller`], which is chosen by name: the record's *sandboxer*. Neither
//! side looks at the other: who makes a sandbox makes the record first, then the instance.
//!
//! # Lifecycle of an instance
//!
//! ```text
//! create -> created --start--> running --stop, or by itself--> stopped --shutdown--> (nothing)
//! ```
//!
//! [`create`](Controller::create) makes the environment (for the controller `shim`: a bundle and a
//! shim that serves it), [`start`](Controller::start) runs it. Between them and
//! [`shutdown`](Controller::shutdown) there is an address at which the tasks of its containers are
//! made: a task whose container names a sandbox ([`Container::sandbox_id`]) is made there, and
//! nowhere else. `shutdown` frees everything, also of one that was never started or stopped, and
//! with it the tasks that are still in it. A create or start that fails leaves no instance.
//!
//! The events `/sandboxes/create`, `/sandboxes/start` and `/sandboxes/exit` tell of it in that
//! order.
//!
//! # Errors
//!
//! Of the store: `NotFound`: no such sandbox here. `AlreadyExists`: create of an id in use.
//! `InvalidArgument`: misspelt id, or an update of what cannot change (sandboxer; runtime name,
//! without a field path for it).
//!
//! Of controllers: `NotFound`: no such controller, or no such instance here. `AlreadyExists`: create
//! of an id that has an instance or a task. `NotImplemented`: the runtime keeps no sandboxes, or does
//! not do this. `Unavailable`, `DeadlineExceeded`: it did not answer in time. Others are the
//! runtime's own.
//!
//! [`Container::sandbox_id`]: crate::containers::Container::sandbox_id

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::containers::Runtime;
use crate::filters::{self, Adaptor, Filters};
use crate::mount::Mount;
use crate::tasks::Metric;
use crate::{Any, Labels, Platform, Result, Scope};

/// A sandbox's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Labels,
    /// What runs it; for some controllers without a name.
    pub runtime: Runtime,
    /// What it shall be, mostly an OCI runtime spec in JSON.
    pub spec: Option<Any>,
    /// The controller that keeps its instance; may be empty.
    pub sandboxer: String,
    /// What clients keep with it, by a name of theirs.
    pub extensions: BTreeMap<String, Any>,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
}

/// What an instance is made with, beside the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// Mounts for its own root file system, where it has one.
    pub rootfs: Vec<Mount>,
    /// What the runtime is told of it, in a type that client and runtime have agreed on.
    pub options: Option<Any>,
    /// The path of the network namespace to join; may be empty.
    pub netns_path: String,
    /// Annotations for the runtime.
    pub annotations: Labels,
}

/// An instance that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The pid of what runs it; 0 where there is none.
    pub pid: u32,
    /// When it was made.
    pub created: SystemTime,
    /// Labels that the controller has for it.
    pub labels: Labels,
    /// Where its tasks are made; may be empty.
    pub address: String,
    /// The version of the task service there.
    pub version: u32,
    /// Its spec as it was carried out, where the runtime says so.
    pub spec: Option<Any>,
}

/// An instance as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The pid of what runs it; 0 where there is none.
    pub pid: u32,
    /// The runtime's word for what it is doing, for instance `SANDBOX_READY`; empty where there is
    /// no instance.
    pub state: String,
    /// Further facts, when they were asked for.
    pub info: Labels,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it ended.
    pub exited: Option<SystemTime>,
    /// What the controller adds.
    pub extra: Option<Any>,
    /// Where its tasks are made; may be empty.
    pub address: String,
    /// The version of the task service there.
    pub version: u32,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its status: an exit code, or 128 + signal.
    pub status: u32,
    /// When.
    pub at: SystemTime,
}

/// How much a question is to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// What costs little.
    #[default]
    Plain,
    /// Also [`Status::info`].
    Verbose,
}

/// The namespaced store of sandboxes' records.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns a sandbox.
    async fn get(&self, scope: &Scope, id: &str) -> Result<Sandbox>;

    /// Lists the namespace's sandboxes in the order of their ids.
    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Sandbox>>;

    /// Creates a sandbox; its times are set here.
    async fn create(&self, scope: &Scope, sandbox: Sandbox) -> Result<Sandbox>;

    /// Changes what `fieldpaths` name (`labels[.<key>]`, `extensions[.<name>]`, `spec`, `runtime`),
    /// or, when empty, everything that can change without one.
    async fn update(
        &self,
        scope: &Scope,
        sandbox: Sandbox,
        fieldpaths: &[String],
    ) -> Result<Sandbox>;

    /// Deletes a sandbox's record. Whoever calls has shut its instance down.
    async fn delete(&self, scope: &Scope, id: &str) -> Result<()>;
}

/// Keeps sandboxes' instances.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Makes an instance of a record, which need not be stored.
    async fn create(&self, scope: &Scope, sandbox: Sandbox, create: Create) -> Result<()>;

    /// Starts a created instance.
    async fn start(&self, scope: &Scope, id: &str) -> Result<Instance>;

    /// Returns the platform that containers in it run on.
    async fn platform(&self, scope: &Scope, id: &str) -> Result<Platform>;

    /// Stops an instance, with force after `timeout` (whole seconds; none leaves that to the
    /// runtime). One that is gone is stopped already.
    async fn stop(&self, scope: &Scope, id: &str, timeout: Duration) -> Result<()>;

    /// Waits until an instance has ended.
    async fn wait(&self, scope: &Scope, id: &str) -> Result<Exit>;

    /// Returns an instance as it stands; of one that is gone an empty state and now as its end.
    async fn status(&self, scope: &Scope, id: &str, detail: Detail) -> Result<Status>;

    /// Removes an instance with all that belongs to it.
    async fn shutdown(&self, scope: &Scope, id: &str) -> Result<()>;

    /// Measures an instance.
    async fn metrics(&self, scope: &Scope, id: &str) -> Result<Metric>;

    /// Tells the controller that `fields` of a record have changed.
    async fn update(&self, scope: &Scope, sandbox: Sandbox, fields: &[String]) -> Result<()>;
}

/// Finds controllers by name.
pub trait Controllers: Send + Sync {
    /// Returns the controller of that name.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name, `NotFound` when there is none.
    fn controller(&self, name: &str) -> Result<Arc<dyn Controller>>;
}

impl Adaptor for Sandbox {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(self.id.as_str().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}
