//! The records' values: protobuf messages private to this crate.
//!
//! Fields are only ever added, under new numbers; what an older stowd does not know it skips.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use stowd_core::containers::{Container, Runtime};
use stowd_core::content;
use stowd_core::images::Image;
use stowd_core::leases::Lease;
use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, ActiveMount};
use stowd_core::sandboxes::Sandbox;
use stowd_core::snapshots::{self, Kind, TreeId, Usage};
use stowd_core::{Any, Descriptor, Digest, Error, Labels, Result};

/// The format of the whole file; a stowd refuses one that is newer than its own.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Format {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
}

/// The last number given out.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Counter {
    #[prost(uint64, tag = "1")]
    pub(crate) last: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamespaceRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BlobRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) updated: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) size: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IngestRecord {
    /// Its key in the plain store.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// The digest that its writer promised.
    #[prost(string, tag = "2")]
    pub(crate) expected: String,
    /// It stands for a blob that is there, of this size, and has no data of its own.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) shared: Option<u64>,
    /// When it may be collected; an ingest without is kept by a lease.
    #[prost(sfixed64, optional, tag = "4")]
    pub(crate) expires: Option<i64>,
    #[prost(sfixed64, tag = "5")]
    pub(crate) started: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) updated: i64,
    #[prost(string, tag = "4")]
    pub(crate) digest: String,
    #[prost(string, tag = "5")]
    pub(crate) media_type: String,
    #[prost(uint64, tag = "6")]
    pub(crate) size: u64,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(crate) annotations: Labels,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyRecord {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) updated: i64,
    #[prost(string, tag = "4")]
    pub(crate) snapshotter: String,
    #[prost(string, tag = "5")]
    pub(crate) snapshot_key: String,
    #[prost(string, tag = "6")]
    pub(crate) image: String,
    #[prost(string, tag = "7")]
    pub(crate) runtime: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) options: Option<AnyRecord>,
    #[prost(message, optional, tag = "9")]
    pub(crate) spec: Option<AnyRecord>,
    #[prost(btree_map = "string, message", tag = "10")]
    pub(crate) extensions: std::collections::BTreeMap<String, AnyRecord>,
    #[prost(string, tag = "11")]
    pub(crate) sandbox_id: String,
}

/// The part of a [`ContainerRecord`] that garbage collection reads.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerReferences {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(string, tag = "4")]
    pub(crate) snapshotter: String,
    #[prost(string, tag = "5")]
    pub(crate) snapshot_key: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) updated: i64,
    #[prost(string, tag = "4")]
    pub(crate) sandboxer: String,
    #[prost(string, tag = "5")]
    pub(crate) runtime: String,
    #[prost(message, optional, tag = "6")]
    pub(crate) options: Option<AnyRecord>,
    #[prost(message, optional, tag = "7")]
    pub(crate) spec: Option<AnyRecord>,
    #[prost(btree_map = "string, message", tag = "8")]
    pub(crate) extensions: std::collections::BTreeMap<String, AnyRecord>,
}

/// The part of a [`SandboxRecord`] that garbage collection reads.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxLabels {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) updated: i64,
    #[prost(enumeration = "KindRecord", tag = "4")]
    pub(crate) kind: i32,
    #[prost(string, optional, tag = "5")]
    pub(crate) parent: Option<String>,
    #[prost(uint64, tag = "6")]
    pub(crate) tree: u64,
    /// The trees of all ancestors, nearest first: mounts are answered by one look-up.
    #[prost(uint64, repeated, tag = "7")]
    pub(crate) parents: Vec<u64>,
    /// Measured when it was committed.
    #[prost(uint64, tag = "8")]
    pub(crate) size: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) inodes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum KindRecord {
    Unknown = 0,
    View = 1,
    Active = 2,
    Committed = 3,
}

/// Which snapshot a file tree belongs to.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TreeRecord {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActivationRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) labels: Labels,
    #[prost(sfixed64, tag = "2")]
    pub(crate) created: i64,
    /// Its number in the mounter.
    #[prost(uint64, tag = "3")]
    pub(crate) id: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) active: Vec<ActiveRecord>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) system: Vec<MountRecord>,
    /// The lease that it was made under.
    #[prost(string, optional, tag = "6")]
    pub(crate) lease: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActiveRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) mount: Option<MountRecord>,
    #[prost(sfixed64, optional, tag = "2")]
    pub(crate) mounted: Option<i64>,
    #[prost(string, tag = "3")]
    pub(crate) point: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) data: Labels,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MountRecord {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    #[prost(string, tag = "3")]
    pub(crate) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
}

/// A record that is only there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mark {}

/// Returns nanoseconds since 1970, as far as they reach.
pub(crate) fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    }
}

/// Returns the time so many nanoseconds after 1970.
pub(crate) fn time(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

impl LeaseRecord {
    pub(crate) fn lease(self, id: String) -> Lease {
        Lease { id, labels: self.labels, created: time(self.created) }
    }
}

impl BlobRecord {
    pub(crate) fn info(self, digest: Digest) -> content::Info {
        content::Info {
            digest,
            size: self.size,
            created: time(self.created),
            updated: time(self.updated),
            labels: self.labels,
        }
    }
}

impl ImageRecord {
    pub(crate) fn from_image(image: &Image) -> Self {
        Self {
            labels: image.labels.clone(),
            created: nanos(image.created),
            updated: nanos(image.updated),
            digest: image.target.digest.as_str().to_owned(),
            media_type: image.target.media_type.clone(),
            size: image.target.size,
            annotations: image.target.annotations.clone(),
        }
    }

    pub(crate) fn image(self, name: String) -> Result<Image> {
        let digest = self.digest.parse().map_err(|error: Error| damaged("image", &name, &error))?;
        let mut target = Descriptor::new(self.media_type, digest, self.size);
        target.annotations = self.annotations;
        Ok(Image {
            name,
            target,
            labels: self.labels,
            created: time(self.created),
            updated: time(self.updated),
        })
    }
}

impl ContainerRecord {
    pub(crate) fn from_container(container: &Container) -> Self {
        let extensions = container.extensions.iter();
        Self {
            labels: container.labels.clone(),
            created: nanos(container.created),
            updated: nanos(container.updated),
            snapshotter: container.snapshotter.clone(),
            snapshot_key: container.snapshot_key.clone(),
            image: container.image.clone(),
            runtime: container.runtime.name.clone(),
            options: container.runtime.options.as_ref().map(AnyRecord::from_any),
            spec: container.spec.as_ref().map(AnyRecord::from_any),
            extensions: extensions.map(|(k, v)| (k.clone(), AnyRecord::from_any(v))).collect(),
            sandbox_id: container.sandbox_id.clone(),
        }
    }

    pub(crate) fn container(self, id: String) -> Container {
        Container {
            id,
            labels: self.labels,
            image: self.image,
            runtime: Runtime { name: self.runtime, options: self.options.map(AnyRecord::into_any) },
            spec: self.spec.map(AnyRecord::into_any),
            snapshotter: self.snapshotter,
            snapshot_key: self.snapshot_key,
            extensions: self.extensions.into_iter().map(|(k, v)| (k, v.into_any())).collect(),
            sandbox_id: self.sandbox_id,
            created: time(self.created),
            updated: time(self.updated),
        }
    }
}

impl SandboxRecord {
    pub(crate) fn from_sandbox(sandbox: &Sandbox) -> Self {
        let extensions = sandbox.extensions.iter();
        Self {
            labels: sandbox.labels.clone(),
            created: nanos(sandbox.created),
            updated: nanos(sandbox.updated),
            sandboxer: sandbox.sandboxer.clone(),
            runtime: sandbox.runtime.name.clone(),
            options: sandbox.runtime.options.as_ref().map(AnyRecord::from_any),
            spec: sandbox.spec.as_ref().map(AnyRecord::from_any),
            extensions: extensions.map(|(k, v)| (k.clone(), AnyRecord::from_any(v))).collect(),
        }
    }

    pub(crate) fn sandbox(self, id: String) -> Sandbox {
        Sandbox {
            id,
            labels: self.labels,
            runtime: Runtime { name: self.runtime, options: self.options.map(AnyRecord::into_any) },
            spec: self.spec.map(AnyRecord::into_any),
            sandboxer: self.sandboxer,
            extensions: self.extensions.into_iter().map(|(k, v)| (k, v.into_any())).collect(),
            created: time(self.created),
            updated: time(self.updated),
        }
    }
}

impl AnyRecord {
    fn from_any(any: &Any) -> Self {
        Self { type_url: any.type_url.clone(), value: any.value.clone() }
    }

    fn into_any(self) -> Any {
        Any { type_url: self.type_url, value: self.value }
    }
}

impl SnapshotRecord {
    pub(crate) fn kind_of(&self) -> Kind {
        match self.kind() {
            KindRecord::View => Kind::View,
            KindRecord::Active => Kind::Active,
            // An unknown kind can at least be listed and removed as what never changes.
            KindRecord::Committed | KindRecord::Unknown => Kind::Committed,
        }
    }

    pub(crate) fn info(self, name: String) -> snapshots::Info {
        snapshots::Info {
            kind: self.kind_of(),
            name,
            parent: self.parent,
            labels: self.labels,
            created: time(self.created),
            updated: time(self.updated),
        }
    }

    /// Returns the file tree as its driver needs to see it.
    pub(crate) fn tree(&self) -> snapshots::Tree {
        let prefix = stowd_core::labels::SNAPSHOT_PREFIX;
        let own = self.labels.iter().filter(|(key, _)| key.starts_with(prefix));
        snapshots::Tree {
            id: TreeId(self.tree),
            kind: self.kind_of(),
            parents: self.parents.iter().copied().map(TreeId).collect(),
            labels: own.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// Returns the trees that a child of this snapshot builds on.
    pub(crate) fn chain(&self) -> Vec<u64> {
        std::iter::once(self.tree).chain(self.parents.iter().copied()).collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { inodes: self.inodes, size: self.size }
    }
}

impl ActivationRecord {
    pub(crate) fn activation(self, name: String) -> Activation {
        Activation {
            name,
            active: self.active.into_iter().map(ActiveRecord::active_mount).collect(),
            system: self.system.into_iter().map(MountRecord::mount).collect(),
            labels: self.labels,
        }
    }
}

impl ActiveRecord {
    pub(crate) fn from_active_mount(made: &ActiveMount) -> Self {
        Self {
            mount: Some(MountRecord::from_mount(&made.mount)),
            mounted: made.mounted.map(nanos),
            point: made.point.clone(),
            data: made.data.clone(),
        }
    }

    fn active_mount(self) -> ActiveMount {
        ActiveMount {
            mount: self.mount.unwrap_or_default().mount(),
            mounted: self.mounted.map(time),
            point: self.point,
            data: self.data,
        }
    }
}

impl MountRecord {
    pub(crate) fn from_mount(mount: &Mount) -> Self {
        let Mount { kind, source, target, options } = mount.clone();
        Self { kind, source, target, options }
    }

    fn mount(self) -> Mount {
        let Self { kind, source, target, options } = self;
        Mount { kind, source, target, options }
    }
}

impl From<Kind> for KindRecord {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::View => Self::View,
            Kind::Active => Self::Active,
            Kind::Committed => Self::Committed,
        }
    }
}

/// Makes the error for a stored record that makes no sense.
pub(crate) fn damaged(what: &str, name: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::data_loss(format_args!("the record of {what} {name:?} is damaged: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        let now = SystemTime::now();
        for offset in [0, 1, 1_000_000_007, u64::from(u32::MAX) * 1_000_000_000] {
            let offset = Duration::from_nanos(offset);
            for at in [SystemTime::UNIX_EPOCH + offset, SystemTime::UNIX_EPOCH - offset, now] {
                assert_eq!(time(nanos(at)), at);
            }
        }
    }

    #[test]
    fn the_short_container_reads_the_long_ones_fields() {
        let long = ContainerRecord {
            labels: Labels::from([("a".to_owned(), "b".to_owned())]),
            snapshotter: "overlayfs".to_owned(),
            snapshot_key: "key".to_owned(),
            spec: Some(AnyRecord { type_url: "t".to_owned(), value: Bytes::from_static(b"v") }),
            ..ContainerRecord::default()
        };
        let short = ContainerReferences::decode(long.encode_to_vec().as_slice()).unwrap();
        assert_eq!(short.labels, long.labels);
        assert_eq!((short.snapshotter, short.snapshot_key), (long.snapshotter, long.snapshot_key));
    }
}
