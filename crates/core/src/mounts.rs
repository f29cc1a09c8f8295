//! The mount manager: mounts that need more than mount(2), made under a name and kept.
//!
//! # Activating
//! A caller that has [mounts](Mount) and wants their files asks [`Manager::activate`] for them under
//! a name. What the kernel cannot do by itself is done then: images are formatted, directories made,
//! loop devices bound, and mounts made that later ones are built upon. The answer says what was made
//! (`active`) and which mounts are left for the caller to perform (`system`), in a container's mount
//! namespace mostly. Where nothing has to be done the answer is `NotImplemented`, and the caller
//! performs the mounts as they are.
//!
//! What is left to the caller is what comes behind the last mount that has to be made here. With
//! [`Extent::All`] every mount is made here, and what is left is one bind mount of the last.
//!
//! # Kinds
//! A kind may have transformers before it, each closed by a slash, which are applied from left to
//! right when the mount's turn comes, or where it is the first that is left to the caller:
//!
//! | transformer | what it does |
//! |---|---|
//! | `format/` | fills in `{{ source N }}`, `{{ target N }}`, `{{ mount N }}` (the mount point of the Nth mount made) and `{{ overlay N M }}` (the mount points from N to M, joined by colons) |
//! | `mkfs/` | makes the source, a file, with a file system in it, unless it is there: `X-containerd.mkfs.size=`, `.fs=`, `.uuid=` |
//! | `mkdir/` | makes directories: `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]` |
//!
//! `mkfs/` and `mkdir/` work only below the daemon's root and its mount points. The kind `loop` binds
//! its source to a loop device; its mount point is a link to the device.
//!
//! # How long an activation lives
//! Until it is [deactivated](Manager::deactivate), or garbage collection finds that nothing needs it:
//! it is kept by the lease that it was made under, by the objects its labels
//! `containerd.io/gc.bref.{container,content,image,snapshot.<snapshotter>}` name, and by the labels
//! `containerd.io/gc.ref.mount` of others. An activation that has none of these goes with the next
//! collection. It outlives the daemon, but not the machine's restart, nor the loss of one of its
//! mounts.
//!
//! # Errors
//! `NotImplemented`: nothing needs to be done here, or a transformer may not work at that place.
//! `AlreadyExists`: an activation of that name is there, whose mounts can be used ([`Manager::info`]).
//! `NotFound`: no activation of that name, or no such lease. `InvalidArgument`: an option or a text
//! to fill in that cannot be meant. All others are the kernel's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{self, Adaptor};
use crate::mount::Mount;
use crate::{Chunks, Labels, Result, Scope};

/// A mount that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveMount {
    /// What was mounted, after transformation.
    pub mount: Mount,
    /// When.
    pub mounted: Option<SystemTime>,
    /// Where it is: a directory, or a link to a device.
    pub point: String,
    /// What the handler of its kind tells about it.
    pub data: BTreeMap<String, String>,
}

/// An activation: mounts that are kept under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Its name; any text.
    pub name: String,
    /// The mounts that were made, in order.
    pub active: Vec<ActiveMount>,
    /// The mounts that are left for the caller to perform, in order.
    pub system: Vec<Mount>,
    /// Its labels.
    pub labels: Labels,
}

/// How an activation is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Labels of the activation.
    pub labels: Labels,
    /// Which mounts are made here.
    pub extent: Extent,
    /// Kinds that the caller performs itself, though they could be done here. `format/*` stands for
    /// all kinds behind that transformer. They are done here all the same where a later mount that is
    /// made here needs them.
    pub allowed: Vec<String>,
}

/// Which mounts are made, and which are left to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Those that the caller cannot perform, and those before them.
    #[default]
    Needed,
    /// All; what is left is a bind mount of the last.
    All,
}

/// Makes mounts under a name, and keeps the books of them.
#[async_trait]
pub trait Manager: Send + Sync {
    /// Makes mounts, under a name that must be free. What was made is undone when one fails.
    async fn activate(
        &self,
        scope: &Scope,
        name: &str,
        mounts: Vec<Mount>,
        options: Options,
    ) -> Result<Activation>;

    /// Undoes an activation's mounts and frees its name. The name is free even when a mount cannot be
    /// undone, for instance because it is in use; garbage collection tries again then.
    async fn deactivate(&self, scope: &Scope, name: &str) -> Result<()>;

    /// Returns an activation.
    async fn info(&self, scope: &Scope, name: &str) -> Result<Activation>;

    /// Lists the namespace's activations in the order of their names.
    async fn list(&self, scope: &Scope) -> Result<Chunks<Activation>>;
}

/// An activation's number in its mounter; never used twice while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivationId(pub u64);

/// What a mounter made of mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The mounts that were made, in order.
    pub active: Vec<ActiveMount>,
    /// The mounts that are left for the caller.
    pub system: Vec<Mount>,
}

/// What a mounter finds of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: ActivationId,
    /// Whether all of its mounts are still there.
    pub state: State,
}

/// Whether an activation can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that was made for it is there.
    Whole,
    /// It was never finished, or a part of it is gone.
    Broken,
}

/// Makes and undoes the mounts of activations, which it knows by number. Holds no names and no state
/// but what is mounted and what lies beside the mount points.
///
/// The caller keeps the books: it calls [`make`](Self::make) before it records an activation and
/// [`undo`](Self::undo) after it has forgotten one, so what a crash leaves behind is always a mount
/// without a record; at start the caller undoes what [`list`](Self::list) shows and its books do not,
/// and forgets what it has on record and the list does not show as whole.
///
/// Calls block, some for as long as formatting a disk takes.
pub trait Mounter: Send + Sync {
    /// Checks that there is something to do.
    ///
    /// # Errors
    /// `NotImplemented` when the caller can perform all mounts itself.
    fn check(&self, mounts: &[Mount], options: &Options) -> Result<()>;

    /// Makes mounts; undoes them when one fails.
    fn make(&self, id: ActivationId, mounts: Vec<Mount>, options: &Options) -> Result<Made>;

    /// Undoes all mounts of an activation; one that is not there counts as undone. May be called
    /// again when it failed.
    fn undo(&self, id: ActivationId) -> Result<()>;

    /// Lists all activations of which anything is there.
    fn list(&self) -> Result<Vec<Found>>;
}

impl Adaptor for Activation {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(self.name.as_str().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}
