//! The gRPC and ttrpc faces of the contracts.
//!
//! Each module serves one of containerd's services over the contract of the same name in `core`:
//! it reads the scope from the headers, turns the request into core's words, calls, and turns the
//! answer back. There is deliberately nothing else here: no state, no rules, no defaults that the
//! contract would not have. What is not built yet answers `Unimplemented`, which is gRPC's own
//! answer for a service that is not registered.

pub mod containers;
pub mod content;
pub mod diff;
pub mod events;
pub mod health;
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
pub mod version;

mod request;
