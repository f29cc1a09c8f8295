//! Events: what happened, told to whoever listens.
//!
//! An event is published after what it tells of is durable. It reaches subscribers in the order of
//! publication, as long as they keep up; there is no replay. Topics are paths (`/tasks/exit`);
//! each kind of event has one.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_core::Stream;

use crate::filters::{Adaptor, Filters};
use crate::mount::Mount;
use crate::{Any, Labels, Namespace, Result};

/// An event with its time, place and subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// When it happened.
    pub timestamp: SystemTime,
    /// Where.
    pub namespace: Namespace,
    /// What it is about: a path such as `/tasks/exit`.
    pub topic: String,
    /// What happened.
    pub event: Event,
}

/// Subscribers get this.
pub type Envelopes = Pin<Box<dyn Stream<Item = Result<Envelope>> + Send + 'static>>;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident($topic:literal) { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {
        /// What happened. The names and fields are containerd's (`containerd.events.*`).
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the fields are documented by the messages that they mirror")]
        pub enum Event {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $type,)* },)*
            /// An event of a kind that stowd does not know: passed on as it came.
            Other(Any),
        }

        impl Event {
            /// Returns the topic that events of this kind are published under; none for others'.
            pub fn topic(&self) -> Option<&'static str> {
                match self {
                    $(Self::$name { .. } => Some($topic),)*
                    Self::Other(_) => None,
                }
            }

            /// Returns the full name of the protobuf message that carries this event.
            pub fn type_url(&self) -> &str {
                match self {
                    // The image events alone live in their service's package.
                    Self::ImageCreate { .. } => "containerd.services.images.v1.ImageCreate",
                    Self::ImageUpdate { .. } => "containerd.services.images.v1.ImageUpdate",
                    Self::ImageDelete { .. } => "containerd.services.images.v1.ImageDelete",
                    $(#[allow(unreachable_patterns, reason = "the images' are above")]
                    Self::$name { .. } => concat!("containerd.events.", stringify!($name)),)*
                    Self::Other(any) => &any.type_url,
                }
            }
        }
    };
}

events! {
    /// A container was created.
    ContainerCreate("/containers/create") { id: String, image: String, runtime: crate::containers::Runtime, }
    /// A container was changed.
    ContainerUpdate("/containers/update") { id: String, image: String, labels: Labels, snapshot_key: String, }
    /// A container was deleted.
    ContainerDelete("/containers/delete") { id: String, }
    /// A blob was committed.
    ContentCreate("/content/create") { digest: String, size: u64, }
    /// A blob was deleted.
    ContentDelete("/content/delete") { digest: String, }
    /// An image was created.
    ImageCreate("/images/create") { name: String, labels: Labels, }
    /// An image was changed.
    ImageUpdate("/images/update") { name: String, labels: Labels, }
    /// An image was deleted.
    ImageDelete("/images/delete") { name: String, }
    /// A namespace was created.
    NamespaceCreate("/namespaces/create") { name: String, labels: Labels, }
    /// A namespace was changed.
    NamespaceUpdate("/namespaces/update") { name: String, labels: Labels, }
    /// A namespace was deleted.
    NamespaceDelete("/namespaces/delete") { name: String, }
    /// A sandbox was made.
    SandboxCreate("/sandboxes/create") { sandbox_id: String, }
    /// A sandbox was started.
    SandboxStart("/sandboxes/start") { sandbox_id: String, }
    /// A sandbox ended.
    SandboxExit("/sandboxes/exit") { sandbox_id: String, exit_status: u32, exited_at: SystemTime, }
    /// A snapshot was prepared.
    SnapshotPrepare("/snapshot/prepare") { key: String, parent: String, snapshotter: String, }
    /// A snapshot was committed.
    SnapshotCommit("/snapshot/commit") { key: String, name: String, snapshotter: String, }
    /// A snapshot was removed.
    SnapshotRemove("/snapshot/remove") { key: String, snapshotter: String, }
    /// A task was made.
    TaskCreate("/tasks/create") { container_id: String, bundle: String, rootfs: Vec<Mount>, io: crate::tasks::Stdio, checkpoint: String, pid: u32, }
    /// A task's init was started.
    TaskStart("/tasks/start") { container_id: String, pid: u32, }
    /// A task or exec was deleted.
    TaskDelete("/tasks/delete") { container_id: String, pid: u32, exit_status: u32, exited_at: SystemTime, id: String, }
    /// A process ended; `id` is the exec id, or the container's for the init.
    TaskExit("/tasks/exit") { container_id: String, id: String, pid: u32, exit_status: u32, exited_at: SystemTime, }
    /// The kernel killed a process of the task for want of memory.
    TaskOOM("/tasks/oom") { container_id: String, }
    /// An exec was made.
    TaskExecAdded("/tasks/exec-added") { container_id: String, exec_id: String, }
    /// An exec was started.
    TaskExecStarted("/tasks/exec-started") { container_id: String, exec_id: String, pid: u32, }
    /// A task was frozen.
    TaskPaused("/tasks/paused") { container_id: String, }
    /// A task was thawed.
    TaskResumed("/tasks/resumed") { container_id: String, }
    /// A task was checkpointed.
    TaskCheckpointed("/tasks/checkpointed") { container_id: String, checkpoint: String, }
}

/// Tells of what happened. Cheap, never blocks: it is called after a commit, in its order.
pub trait Publisher: Send + Sync {
    /// Publishes an event with the time of now, under its own topic. `event` is not
    /// [`Event::Other`], which has none.
    fn publish(&self, namespace: &Namespace, event: Event);
}

/// Passes on events that were published elsewhere, and lets subscribers in.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Publishes an event under a topic with the time of now.
    ///
    /// # Errors
    /// `InvalidArgument`: the topic is not a path (`/a/b`) of identifiers.
    async fn publish(&self, namespace: &Namespace, topic: &str, event: Event) -> Result<()>;

    /// Publishes an event that carries its own time and namespace (from a shim).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    async fn forward(&self, envelope: Envelope) -> Result<()>;

    /// Subscribes to all events of all namespaces that pass the filters. Events published after
    /// this call returns are not missed.
    async fn subscribe(&self, filters: Filters) -> Result<Envelopes>;
}

impl Adaptor for Envelope {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["namespace"] => Some(self.namespace.as_str().into()),
            ["topic"] => Some(self.topic.as_str().into()),
            ["event", rest @ ..] => self.event.field(rest),
            _ => None,
        }
    }
}

impl Adaptor for Event {
    /// Answers the fields that containerd's generated `Field` methods answer: texts and labels.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        use crate::filters::label;
        use Event as E;
        let text: &str = match (self, path) {
            (
                E::ContainerCreate { id, .. }
                | E::ContainerUpdate { id, .. }
                | E::ContainerDelete { id },
                ["id"],
            ) => id,
            (E::ContainerCreate { image, .. } | E::ContainerUpdate { image, .. }, ["image"]) => {
                image
            }
            (E::ContainerCreate { runtime, .. }, ["runtime", "name"]) => &runtime.name,
            (E::ContainerUpdate { snapshot_key, .. }, ["snapshot_key"]) => snapshot_key,
            (E::ContentCreate { digest, .. } | E::ContentDelete { digest }, ["digest"]) => digest,
            (
                E::ImageCreate { name, .. }
                | E::ImageUpdate { name, .. }
                | E::ImageDelete { name }
                | E::NamespaceCreate { name, .. }
                | E::NamespaceUpdate { name, .. }
                | E::NamespaceDelete { name }
                | E::SnapshotCommit { name, .. },
                ["name"],
            ) => name,
            (
                E::ContainerUpdate { labels, .. }
                | E::ImageCreate { labels, .. }
                | E::ImageUpdate { labels, .. }
                | E::NamespaceCreate { labels, .. }
                | E::NamespaceUpdate { labels, .. },
                ["labels", rest @ ..],
            ) => return label(labels, rest),
            (
                E::SnapshotPrepare { key, .. }
                | E::SnapshotCommit { key, .. }
                | E::SnapshotRemove { key, .. },
                ["key"],
            ) => key,
            (E::SnapshotPrepare { parent, .. }, ["parent"]) => parent,
            (
                E::SnapshotPrepare { snapshotter, .. }
                | E::SnapshotCommit { snapshotter, .. }
                | E::SnapshotRemove { snapshotter, .. },
                ["snapshotter"],
            ) => snapshotter,
            (
                E::SandboxCreate { sandbox_id }
                | E::SandboxStart { sandbox_id }
                | E::SandboxExit { sandbox_id, .. },
                ["sandbox_id"],
            ) => sandbox_id,
            (
                E::TaskCreate { container_id, .. }
                | E::TaskStart { container_id, .. }
                | E::TaskDelete { container_id, .. }
                | E::TaskExit { container_id, .. }
                | E::TaskOOM { container_id }
                | E::TaskExecAdded { container_id, .. }
                | E::TaskExecStarted { container_id, .. }
                | E::TaskPaused { container_id }
                | E::TaskResumed { container_id }
                | E::TaskCheckpointed { container_id, .. },
                ["container_id"],
            ) => container_id,
            (E::TaskCreate { bundle, .. }, ["bundle"]) => bundle,
            (E::TaskCreate { io, .. }, ["io", "stdin"]) => &io.stdin,
            (E::TaskCreate { io, .. }, ["io", "stdout"]) => &io.stdout,
            (E::TaskCreate { io, .. }, ["io", "stderr"]) => &io.stderr,
            (
                E::TaskCreate { checkpoint, .. } | E::TaskCheckpointed { checkpoint, .. },
                ["checkpoint"],
            ) => checkpoint,
            (E::TaskDelete { id, .. } | E::TaskExit { id, .. }, ["id"]) => id,
            (
                E::TaskExecAdded { exec_id, .. } | E::TaskExecStarted { exec_id, .. },
                ["exec_id"],
            ) => exec_id,
            _ => return None,
        };
        Some(text.into())
    }
}
