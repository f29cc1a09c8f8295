//! The words and contracts of stowd.
//!
//! Everything that several parts must agree on lives here and nowhere else: the field's words
//! ([`digest`], [`mod@reference`], [`descriptor`], [`platform`], [`labels`], [`filters`],
//! [`namespace`]), one [`error`] type with the kinds that clients can tell apart, and one module
//! for each contract. A contract's module tells what exists before, during and after each call;
//! its implementations, its gRPC face (`services`) and its remote twin (`proxy`) carry the same
//! module name.
//!
//! There is deliberately no I/O here and no protobuf: whoever reads this crate knows what stowd
//! does without knowing how it is stored or spoken.

pub mod any;
pub mod containers;
pub mod content;
pub mod descriptor;
pub mod diff;
pub mod digest;
pub mod error;
pub mod events;
pub mod filters;
pub mod images;
pub mod introspection;
pub mod labels;
pub mod leases;
pub mod mount;
pub mod mounts;
pub mod namespace;
pub mod namespaces;
pub mod platform;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod sandboxes;
pub mod scope;
pub mod snapshots;
pub mod streaming;
pub mod tasks;
pub mod transfer;

pub use any::Any;
pub use descriptor::Descriptor;
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use labels::Labels;
pub use namespace::Namespace;
pub use platform::Platform;
pub use reference::Reference;
pub use scope::Scope;

/// A list that arrives in pieces, so that its length never has to fit into memory or one message.
pub type Chunks<T> =
    std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<Vec<T>>> + Send + 'static>>;
