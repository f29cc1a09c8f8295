//! Labels: what clients and stowd write onto objects, and the names that mean something.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Keys and values on an object, in the order of their keys.
pub type Labels = BTreeMap<String, String>;

/// The most bytes that a key and its value may have together.
pub const MAX_SIZE: usize = 4096;

/// Keeps an object alive although nothing refers to it; the value is by custom a time.
pub const GC_ROOT: &str = "containerd.io/gc.root";
/// Start of labels whose value is the digest of content that this object needs.
pub const GC_REF_CONTENT: &str = "containerd.io/gc.ref.content";
/// Start of labels `….<snapshotter>[.…|/…]` whose value is a snapshot that this object needs.
pub const GC_REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
/// Start of labels whose value is the name of an image that this object needs.
pub const GC_REF_IMAGE: &str = "containerd.io/gc.ref.image";
/// Start of labels whose value is the name of an activation of mounts that this object needs.
pub const GC_REF_MOUNT: &str = "containerd.io/gc.ref.mount";
/// Start of labels by which this object asks to live as long as a container does.
pub const GC_BREF_CONTAINER: &str = "containerd.io/gc.bref.container";
/// Start of labels by which this object asks to live as long as content does.
pub const GC_BREF_CONTENT: &str = "containerd.io/gc.bref.content";
/// Start of labels by which this object asks to live as long as an image does.
pub const GC_BREF_IMAGE: &str = "containerd.io/gc.bref.image";
/// Start of labels `….<snapshotter>` by which this object asks to live as long as a snapshot does.
pub const GC_BREF_SNAPSHOT: &str = "containerd.io/gc.bref.snapshot.";
/// On a lease or image: the time (RFC 3339) from which it no longer counts.
pub const GC_EXPIRE: &str = "containerd.io/gc.expire";
/// On a lease: keep only what it names, not what that refers to.
pub const GC_FLAT: &str = "containerd.io/gc.flat";
/// On a compressed layer: the digest of its tar.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// Start of labels that name the repositories on a registry that hold a blob.
pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source";
/// On a namespace: the runtime for containers that name none.
pub const DEFAULT_RUNTIME: &str = "containerd.io/defaults/runtime";
/// On a namespace: the snapshotter for calls that name none.
pub const DEFAULT_SNAPSHOTTER: &str = "containerd.io/defaults/snapshotter";
/// On a namespace: the controller for sandboxes that name none.
pub const DEFAULT_SANDBOXER: &str = "containerd.io/defaults/sandboxer";
/// On a snapshot being prepared: the committed name that it is meant to become.
pub const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
/// Start of labels that a snapshotter's driver gets to see.
pub const SNAPSHOT_PREFIX: &str = "containerd.io/snapshot";
/// On an image: made by this client on import or pull, by custom `managed`.
pub const NAMESPACE_SHAREABLE: &str = "containerd.io/namespace.shareable";

/// Checks one label's size.
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`] when key and value have more than [`MAX_SIZE`] bytes.
pub fn check(key: &str, value: &str) -> Result<()> {
    let total = key.len() + value.len();
    if total <= MAX_SIZE {
        return Ok(());
    }
    // The error shows the start of a long key; a label's value may be a secret.
    let shown: String = key.chars().take(64).collect();
    Err(Error::invalid(format_args!(
        "label key and value length ({total} bytes) greater than maximum size ({MAX_SIZE} bytes), key: {shown}"
    )))
}

/// Checks all labels.
///
/// # Errors
/// As [`check`], for the first that is too long.
pub fn check_all(labels: &Labels) -> Result<()> {
    labels.iter().try_for_each(|(key, value)| check(key, value))
}
