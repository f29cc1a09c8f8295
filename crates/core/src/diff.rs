//! Layers and file trees: applying one to the other and computing one from two.
//!
//! A layer is a tar, plain or compressed, of what changed against the tree below: added and
//! changed entries, and *whiteouts* for what went away (OCI image-spec, layer.md). Applying reads
//! a layer and writes into a mounted snapshot; comparing mounts two trees and writes the layer
//! that leads from the first to the second into the content store.
//!
//! No entry of a layer may reach outside the tree, whatever its name, link target or order.
//!
//! # Errors
//!
//! `NotFound`: the layer is not in the content store. `InvalidArgument`: the media type is none
//! that is known here, or the layer is malformed or reaches outside; what was written so far is
//! the caller's to remove. `NotImplemented`: these mounts cannot be handled here (another differ
//! may).

use std::io::Read;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::mount::Mount;
use crate::{Descriptor, Labels, Result, Scope};

/// Where a layer's bytes come from.
pub enum Source {
    /// The content store, by the request's descriptor.
    Stored,
    /// A stream of the very bytes that the request's descriptor promises, for instance from a
    /// download that is still running. It is read on a thread of its own and may block. Whoever
    /// made the stream checks its digest.
    Stream(Box<dyn Read + Send>),
}

/// How a layer relates to the mounts it is applied to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The mounts show the layers below: whiteouts delete from them.
    #[default]
    OnParents,
    /// The mounts show an empty tree of a snapshotter that can `rebase`, whose parents are bound at
    /// commit: whiteouts are kept in overlayfs' form.
    Detached,
}

/// A layer to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The layer.
    pub layer: Descriptor,
    /// The tree, as a snapshotter's prepare returned it.
    pub mounts: Vec<Mount>,
    /// How the layer relates to the tree.
    pub placement: Placement,
    /// Flushes the tree's file system before the call returns.
    pub sync: Sync,
    /// Options for stream processors, by media type.
    pub payloads: std::collections::BTreeMap<String, crate::Any>,
}

/// Whether data must be on disk when a call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The kernel writes it when it sees fit; the snapshot's commit makes it durable.
    #[default]
    Later,
    /// It is on disk.
    Now,
}

/// What a comparison writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    /// The layer's media type; empty means gzip.
    pub media_type: String,
    /// The ingest's name; empty means one of its own.
    pub reference: String,
    /// Labels for the blob.
    pub labels: Labels,
    /// The latest time that an entry may carry, for reproducible layers.
    pub source_date_epoch: Option<SystemTime>,
}

/// Applies layers.
#[async_trait]
pub trait Applier: Send + std::marker::Sync {
    /// Applies a layer and returns the descriptor of its uncompressed tar: digest (the *diff id*)
    /// and length are those that were read.
    async fn apply(&self, scope: &Scope, apply: Apply, source: Source) -> Result<Descriptor>;
}

/// Computes layers.
#[async_trait]
pub trait Comparer: Send + std::marker::Sync {
    /// Writes the layer that leads from `lower` to `upper` and returns its descriptor. The blob
    /// carries the label `containerd.io/uncompressed`.
    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        compare: Compare,
    ) -> Result<Descriptor>;
}
