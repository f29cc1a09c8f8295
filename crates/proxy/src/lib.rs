//! The contracts of `core`, spoken over gRPC to a daemon on a unix socket: stowd, or containerd.
//!
//! [`connect`] once, then ask the [`Connection`] for what is needed; each answer implements the
//! contract of the same module name in `core`. All of them share the connection, are cheap to
//! clone, and reconnect by themselves when the daemon comes back.
//!
//! ```no_run
//! # async fn example() -> stowd_core::Result<()> {
//! use stowd_core::filters::Filters;
//! use stowd_core::images::Store;
//! use stowd_core::{Namespace, Scope};
//!
//! let daemon = stowd_proxy::connect("/run/containerd/containerd.sock").await?;
//! let scope = Scope::new(Namespace::new("default")?);
//! for image in daemon.images().list(&scope, &Filters::default()).await? {
//!     println!("{}", image.name);
//! }
//! # Ok(()) }
//! ```
//!
//! A call that is dropped is canceled on the other end, too. No call has a deadline of its own:
//! whoever waits decides for how long.
//!
//! # What gets lost on the way
//! Where gRPC cannot say what a contract can, the call answers `NotImplemented` instead of doing
//! something else: cutting an ingest elsewhere than at its start, applying a layer from a stream or
//! onto a detached tree. Other differences stand with the calls.

mod call;
mod connection;
pub mod containers;
pub mod content;
pub mod diff;
pub mod events;
pub mod images;
pub mod introspection;
pub mod leases;
pub mod mounts;
pub mod namespaces;
pub mod sandboxes;
pub mod snapshots;
pub mod streaming;
pub mod tasks;
pub mod transfer;

pub use connection::{Connection, Serving, connect, connect_lazy};
