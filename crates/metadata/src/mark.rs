//! Which records are wanted: follows references from the roots.
//!
//! The rules are containerd's (its documentation, "Garbage Collection"). Roots are leases that have
//! not expired, images that have not expired, containers, sandboxes, ingests that have not expired, and blobs
//! and snapshots with a `containerd.io/gc.root` label. References lead from a lease to its
//! resources, from an image to its target, from a snapshot to its parent, from a container to its
//! snapshot, from an ingest to the blob that it will be, and along `containerd.io/gc.ref.*` labels
//! of all of them; `containerd.io/gc.bref.*` labels lead the other way. An activation of mounts is never
//! a root and refers to nothing; of its labels only those that lead back count. From what a flat lease names,
//! only an image's target and a snapshot's parents are reached, no labels. No reference leaves its
//! namespace.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow::{self, Continue};
use std::time::SystemTime;

use stowd_core::leases::Resource;
use stowd_core::{Digest, Labels, Namespace, Result, labels};

use crate::activations::MOUNTS;
use crate::collector::expiry;
use crate::database::{Read, decode};
use crate::key::{self, Key, kind};
use crate::record::{
    ActivationRecord, BlobRecord, ContainerReferences, ImageRecord, IngestRecord, LeaseRecord,
    SandboxLabels, SnapshotRecord, time,
};

/// What is wanted so far.
#[derive(Default)]
pub(crate) struct Marks {
    wanted: HashSet<Key>,
    /// What only a flat lease leads to. Kept apart: whatever else refers to one of these later
    /// must still find its labels unfollowed.
    flat: HashSet<Key>,
    /// Who refers back to whom: from an object to those that live as long as it.
    back: HashMap<Key, Vec<Key>>,
    pending: Vec<Key>,
}

impl Marks {
    /// Finds all that is wanted in a view, and all that is there but not wanted.
    pub(crate) fn all(read: &impl Read, now: SystemTime) -> Result<(Self, Vec<Key>)> {
        let mut marks = Self::default();
        let mut objects = Vec::new();
        for kind in [
            kind::LEASE,
            kind::IMAGE,
            kind::CONTAINER,
            kind::INGEST,
            kind::BLOB,
            kind::SNAPSHOT,
            kind::ACTIVATION,
            kind::SANDBOX,
        ] {
            read.walk(&Key::new::<0>(kind, []), None, |bytes, value| {
                let key = Key::from_bytes(bytes);
                if marks.look(&key, value, now)? {
                    marks.want(key);
                } else {
                    objects.push(key);
                }
                Ok(Continue(()))
            })?;
        }
        marks.follow(read, now)?;
        objects.retain(|key| !marks.is_wanted(key));
        Ok((marks, objects))
    }

    pub(crate) fn is_wanted(&self, key: &Key) -> bool {
        self.wanted.contains(key) || self.flat.contains(key)
    }

    /// Wants what was written meanwhile, and all that it refers to now.
    pub(crate) fn again(
        &mut self,
        read: &impl Read,
        touched: impl IntoIterator<Item = Key>,
        now: SystemTime,
    ) -> Result<()> {
        for key in touched {
            if let Some(key) = written(key) {
                // It may have got new references since it was marked.
                self.wanted.remove(&key);
                self.want(key);
            }
        }
        self.follow(read, now)
    }

    /// Notes an object's references back; says whether it is a root.
    fn look(&mut self, key: &Key, value: &[u8], now: SystemTime) -> Result<bool> {
        let bytes = key.as_bytes();
        let live = |labels: &Labels| expiry(labels).is_none_or(|at| at > now);
        let (labels, root) = match key.kind() {
            kind::LEASE => {
                let record: LeaseRecord = decode(bytes, value)?;
                let root = live(&record.labels);
                (record.labels, root)
            }
            kind::IMAGE => {
                let record: ImageRecord = decode(bytes, value)?;
                let root = live(&record.labels);
                (record.labels, root)
            }
            kind::CONTAINER => (decode::<ContainerReferences>(bytes, value)?.labels, true),
            // Nothing can name a sandbox, so that it has no references back.
            kind::SANDBOX => return Ok(true),
            kind::INGEST => {
                let record: IngestRecord = decode(bytes, value)?;
                return Ok(record.expires.is_some_and(|at| time(at) > now));
            }
            kind::BLOB => {
                let record: BlobRecord = decode(bytes, value)?;
                let root = is_root(&record.labels);
                (record.labels, root)
            }
            kind::SNAPSHOT => {
                let record: SnapshotRecord = decode(bytes, value)?;
                let root = is_root(&record.labels);
                (record.labels, root)
            }
            kind::ACTIVATION => (decode::<ActivationRecord>(bytes, value)?.labels, false),
            _ => return Ok(false),
        };
        if let Some(namespace) = namespace_of(key) {
            for target in back_references(&namespace, &labels) {
                self.back.entry(target).or_default().push(key.clone());
            }
        }
        Ok(root)
    }

    fn want(&mut self, key: Key) {
        if self.wanted.insert(key.clone()) {
            self.pending.push(key);
        }
    }

    fn follow(&mut self, read: &impl Read, now: SystemTime) -> Result<()> {
        let mut flat = Vec::new();
        while let Some(key) = self.pending.pop() {
            for target in references(read, &key, now, &mut flat)? {
                self.want(target);
            }
            for target in self.back.get(&key).cloned().unwrap_or_default() {
                self.want(target);
            }
        }
        while let Some(key) = flat.pop() {
            if self.flat.insert(key.clone()) {
                flat.extend(base(read, &key)?);
            }
        }
        Ok(())
    }
}

/// Maps a touched record to the object to mark: a lease's list counts as the lease.
fn written(key: Key) -> Option<Key> {
    if key.kind() != kind::RESOURCE {
        return Some(key);
    }
    let [namespace, lease, _, _] = key.parts()?;
    Some(key::lease(&Namespace::new(namespace).ok()?, &lease))
}

/// Returns what an object refers to; what a flat lease names goes to `flat` instead.
fn references(
    read: &impl Read,
    key: &Key,
    now: SystemTime,
    flat: &mut Vec<Key>,
) -> Result<Vec<Key>> {
    let mut found = Vec::new();
    let Some(namespace) = namespace_of(key) else { return Ok(found) };
    let labels = match key.kind() {
        kind::LEASE => {
            let Some(record) = read.get::<LeaseRecord>(key)? else { return Ok(found) };
            if expiry(&record.labels).is_some_and(|at| at <= now) {
                return Ok(found);
            }
            let Some([_, id]) = key.parts() else { return Ok(found) };
            let list = Key::new(kind::RESOURCE, [namespace.as_str(), &id]);
            read.walk(&list, None, |key, _| -> Result<ControlFlow<()>> {
                if let Some([_, _, kind, id]) = key::parts(key)
                    && let Some(held) = resource(&namespace, &Resource { kind, id })
                {
                    let flatly = record.is_flat() && held.kind() != kind::INGEST;
                    if flatly { flat.push(held) } else { found.push(held) }
                }
                Ok(Continue(()))
            })?;
            return Ok(found);
        }
        kind::IMAGE => {
            let Some(record) = read.get::<ImageRecord>(key)? else { return Ok(found) };
            found.extend(base(read, key)?);
            record.labels
        }
        kind::CONTAINER => {
            let Some(record) = read.get::<ContainerReferences>(key)? else { return Ok(found) };
            if !record.snapshotter.is_empty() && !record.snapshot_key.is_empty() {
                found.push(key::snapshot(&namespace, &record.snapshotter, &record.snapshot_key));
            }
            record.labels
        }
        kind::SANDBOX => {
            let Some(record) = read.get::<SandboxLabels>(key)? else { return Ok(found) };
            record.labels
        }
        kind::BLOB => {
            let Some(record) = read.get::<BlobRecord>(key)? else { return Ok(found) };
            record.labels
        }
        kind::SNAPSHOT => {
            let Some(record) = read.get::<SnapshotRecord>(key)? else { return Ok(found) };
            found.extend(base(read, key)?);
            record.labels
        }
        kind::INGEST => {
            let Some(record) = read.get::<IngestRecord>(key)? else { return Ok(found) };
            found.extend(record.expected.parse().ok().map(|blob| key::blob(&namespace, &blob)));
            return Ok(found);
        }
        _ => return Ok(found),
    };
    found.extend(labels.iter().filter_map(|(label, value)| {
        let content = behind(label, labels::GC_REF_CONTENT);
        let image = behind(label, labels::GC_REF_IMAGE);
        let mount = behind(label, labels::GC_REF_MOUNT);
        if content {
            Some(key::blob(&namespace, &value.parse::<Digest>().ok()?))
        } else if image {
            Some(key::image(&namespace, value))
        } else if mount {
            Some(key::activation(&namespace, value))
        } else {
            let snapshotter = label.strip_prefix(labels::GC_REF_SNAPSHOT)?;
            Some(key::snapshot(&namespace, snapshotter.split('/').next()?, value))
        }
    }));
    Ok(found)
}

/// Returns what an object cannot be without: an image its target, a snapshot its parent.
fn base(read: &impl Read, key: &Key) -> Result<Option<Key>> {
    let Some(namespace) = namespace_of(key) else { return Ok(None) };
    Ok(match key.kind() {
        kind::IMAGE => read
            .get::<ImageRecord>(key)?
            .and_then(|record| record.digest.parse().ok())
            .map(|digest| key::blob(&namespace, &digest)),
        kind::SNAPSHOT => {
            read.get::<SnapshotRecord>(key)?.and_then(|record| record.parent).zip(key.parts()).map(
                |(parent, [_, snapshotter, _])| key::snapshot(&namespace, &snapshotter, &parent),
            )
        }
        _ => None,
    })
}

/// Says whether labels make a root. As in containerd, the label may go on behind its name.
fn is_root(labels: &Labels) -> bool {
    labels.keys().any(|label| label.starts_with(labels::GC_ROOT))
}

/// Returns the objects that keep the one with these labels alive.
fn back_references(namespace: &Namespace, labels: &Labels) -> Vec<Key> {
    let target = |(label, value): (&String, &String)| {
        if behind(label, labels::GC_BREF_CONTAINER) {
            Some(key::container(namespace, value))
        } else if behind(label, labels::GC_BREF_CONTENT) {
            Some(key::blob(namespace, &value.parse::<Digest>().ok()?))
        } else if behind(label, labels::GC_BREF_IMAGE) {
            Some(key::image(namespace, value))
        } else {
            let snapshotter = label.strip_prefix(labels::GC_BREF_SNAPSHOT)?;
            Some(key::snapshot(namespace, snapshotter.split('/').next()?, value))
        }
    };
    labels.iter().filter_map(target).collect()
}

/// Says whether a label is `name`, alone or followed by a part of the user's own.
fn behind(label: &str, name: &str) -> bool {
    label.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

fn resource(namespace: &Namespace, resource: &Resource) -> Option<Key> {
    match resource.kind.split_once('/') {
        Some(("snapshots", snapshotter)) => {
            Some(key::snapshot(namespace, snapshotter, &resource.id))
        }
        None if resource.kind == "content" => {
            Some(key::blob(namespace, &resource.id.parse().ok()?))
        }
        None if resource.kind == "ingests" => Some(key::ingest(namespace, &resource.id)),
        None if resource.kind == "images" => Some(key::image(namespace, &resource.id)),
        None if resource.kind == MOUNTS => Some(key::activation(namespace, &resource.id)),
        _ => None,
    }
}

/// Returns the namespace of an object's key: the first part of each.
pub(crate) fn namespace_of(key: &Key) -> Option<Namespace> {
    let bytes = key.as_bytes().get(1..)?;
    // No namespace holds a zero byte, which would need unescaping.
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Namespace::new(std::str::from_utf8(&bytes[..end]).ok()?).ok()
}
