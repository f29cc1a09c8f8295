//! Snapshots: file trees that build on each other.
//!
//! # Words
//!
//! A *key* names an active snapshot or a view; a *name* names a committed one; a *parent* is always
//! a committed name. All three share one space of names per namespace and snapshotter.
//!
//! # Lifecycle
//!
//! ```text
//! prepare(key, parent) -> active --commit(name, key)--> committed (key is free again)
//! view(key, parent)    -> view, read-only               remove(key or name) -> gone
//! ```
//!
//! *Active* snapshots can be mounted and written. *Committed* ones never change, cannot be mounted,
//! and can be parents; they cannot be removed while they are. *Views* show a parent read-only.
//! The empty parent is the empty tree.
//!
//! To unpack an image: for each layer, prepare a key upon the layers below, mount and apply the
//! layer, commit under the layers' chain id; to run it, prepare a key upon the top chain id. A
//! snapshotter that can `rebase` also lets a layer be prepared on no parent and be given one at
//! commit, so that layers unpack side by side.
//!
//! # Errors
//!
//! `NotFound`: key, name or parent does not exist. `AlreadyExists`: prepare, view or commit to a
//! name in use. `FailedPrecondition`: remove of a parent, mounts or commit of a committed snapshot.
//! `InvalidArgument`: a parent that is not committed, an empty key.
//!
//! A [`Snapshotter`] is what clients see: named, labelled, namespaced (crate `metadata`, or a
//! remote one through `proxy`). Below it a [`Driver`] only makes file trees and knows them by
//! number (crate `snapshots`), so that all of a snapshot's metadata changes in one transaction
//! with everything else.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{self, Adaptor, Filters};
use crate::mount::Mount;
use crate::{Chunks, Labels, Result, Scope};

/// What a snapshot can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Read-only, made by view.
    View,
    /// Writable, made by prepare.
    Active,
    /// Immutable, made by commit.
    Committed,
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What it can be used for.
    pub kind: Kind,
    /// Its key or name.
    pub name: String,
    /// The committed snapshot that it builds on.
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
}

/// What a snapshot takes on disk, without its parents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files and directories.
    pub inodes: u64,
    /// Bytes.
    pub size: u64,
}

/// What a commit can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The committed snapshot's labels; those of the active one are not kept.
    pub labels: Labels,
    /// The parent to build on, for an active snapshot that was prepared on none.
    pub parent: Option<String>,
}

/// Snapshots of one kind of storage, as clients see them.
#[async_trait]
pub trait Snapshotter: Send + Sync {
    /// Returns what is known of a snapshot.
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Info>;

    /// Changes labels: those that `fieldpaths` name (`labels`, `labels.<key>`), or all when empty.
    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info>;

    /// Measures a snapshot; costs a walk for an active one.
    async fn usage(&self, scope: &Scope, key: &str) -> Result<Usage>;

    /// Returns the mounts that show an active snapshot or a view.
    async fn mounts(&self, scope: &Scope, key: &str) -> Result<Vec<Mount>>;

    /// Makes an active snapshot and returns its mounts.
    async fn prepare(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>>;

    /// Makes a view and returns its mounts.
    async fn view(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>>;

    /// Turns the active snapshot `key` into the committed one `name`.
    async fn commit(&self, scope: &Scope, name: &str, key: &str, commit: Commit) -> Result<()>;

    /// Removes a snapshot.
    async fn remove(&self, scope: &Scope, key: &str) -> Result<()>;

    /// Lists the namespace's snapshots in the order of their names.
    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>>;

    /// Removes from disk what no snapshot needs any more.
    async fn cleanup(&self, scope: &Scope) -> Result<()>;
}

/// Finds snapshotters by name.
pub trait Snapshotters: Send + Sync {
    /// Returns the snapshotter of that name.
    ///
    /// # Errors
    /// `InvalidArgument` (as containerd) when there is none, with the names that there are.
    fn snapshotter(&self, name: &str) -> Result<Arc<dyn Snapshotter>>;

    /// Returns what a snapshotter's driver can do beyond the contract (`rebase`, `remap-ids`, …).
    fn capabilities(&self, name: &str) -> &[&'static str];
}

/// A file tree's number in its driver; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub u64);

/// A file tree as its driver needs to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Its number.
    pub id: TreeId,
    /// What it is used for.
    pub kind: Kind,
    /// The trees it builds on, nearest first.
    pub parents: Vec<TreeId>,
    /// The snapshot's labels that begin with `containerd.io/snapshot`.
    pub labels: Labels,
}

/// Makes, shows and removes file trees. Holds no names and no state but what is on disk.
///
/// The caller keeps the books: it calls [`make`](Self::make) before it records a snapshot and
/// [`remove`](Self::remove) after it has forgotten one, so what a crash leaves behind is always a
/// tree without a record; at start the caller removes what [`list`](Self::list) shows and its
/// books do not.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Returns the snapshotter's name, as in `io.containerd.snapshotter.v1.<name>`.
    fn name(&self) -> &str;

    /// Returns where the trees are.
    fn root(&self) -> &std::path::Path;

    /// Returns what the driver can do beyond the contract.
    fn capabilities(&self) -> &[&'static str] {
        &[]
    }

    /// Returns labels that the driver shows on a tree's snapshot beside those that are recorded.
    fn labels(&self, _id: TreeId) -> Labels {
        Labels::new()
    }

    /// Makes an active tree or a view on disk.
    async fn make(&self, tree: &Tree) -> Result<()>;

    /// Returns the mounts that show an active tree or a view. Does no I/O worth waiting for.
    fn mounts(&self, tree: &Tree) -> Result<Vec<Mount>>;

    /// Makes an active tree immutable and durable, and measures it. May be called again for the
    /// same tree after a crash.
    async fn commit(&self, tree: &Tree) -> Result<Usage>;

    /// Measures an active tree.
    async fn usage(&self, tree: &Tree) -> Result<Usage>;

    /// Removes a tree from disk; a tree that is not there counts as removed.
    async fn remove(&self, id: TreeId) -> Result<()>;

    /// Lists all trees on disk.
    async fn list(&self) -> Result<Vec<TreeId>>;
}

impl Kind {
    /// Returns the word that lists and filters use: `view`, `active`, `committed`.
    pub fn text(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Active => "active",
            Self::Committed => "committed",
        }
    }
}

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["kind"] => Some(self.kind.text().into()),
            ["name"] => Some(self.name.as_str().into()),
            ["parent"] => Some(self.parent.as_deref().unwrap_or_default().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}
