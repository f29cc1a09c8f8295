//! The manifest graph of images in a content store, and the archives they travel in.
//!
//! An image is a tree of blobs: an index leads to manifests, a manifest to a config and layers.
//! [`document`] parses the blobs that lead somewhere, [`graph`] walks them, [`choice`] says which
//! branches a platform takes, [`links`] writes them down as the labels by which garbage collection
//! follows them. [`config`] reads what a config says of layers. [`archive`] brings such trees in
//! from a stream and out to one, without ever holding more of it than one piece in memory.
//!
//! Everything read here was written by strangers: documents have a greatest length, trees a
//! greatest depth, and a blob is what its digest says or it is refused.
//!
//! Deliberately absent: names of images (`core::images`), registries, unpacking.

pub mod archive;
pub mod choice;
pub mod config;
pub mod document;
pub mod graph;
pub mod links;
mod put;
pub mod usage;

pub use choice::{Choice, Taken};
pub use config::{Config, chain_ids};
pub use document::{Index, Manifest};
pub use put::put;
