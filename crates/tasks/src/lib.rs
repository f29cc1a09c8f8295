//! Runs containers through shims: implements [`stowd_core::tasks::Tasks`].
//!
//! A task lives in a *bundle*, `STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/` (config.json,
//! rootfs, how to reach the shim), and in a *shim*, a process of its own that holds its processes
//! and outlives the daemon. The [`Manager`] makes bundles, starts shims, asks them over ttrpc, and
//! when one dies buries what it held.
//!
//! # For the daemon
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn example(
//! #     config: stowd_tasks::Config,
//! #     containers: Arc<dyn stowd_core::containers::Store>,
//! #     exchange: Arc<dyn stowd_core::events::Exchange>,
//! #     envelope: stowd_core::events::Envelope,
//! # ) -> stowd_core::Result<()> {
//! let manager = stowd_tasks::Manager::new(config, containers, exchange)?;
//! // The ttrpc socket must be served before this, or shims cannot deliver what they held back:
//! manager.restore().await;
//! // for every `Forward` on the ttrpc socket, in its order, instead of Exchange::forward:
//! manager.forwarded(envelope).await?;
//! # Ok(()) }
//! ```
//!
//! # Events
//!
//! Shims publish all events of their tasks. [`Manager::forwarded`] notes exits on their way to the
//! exchange and drops second ones, so that exactly one exit is reported for each process, also when
//! a shim died while its exit was on the way.

mod address;
mod bundle;
mod bury;
mod calls;
mod cgroup;
mod config;
mod create;
mod manager;
mod program;
mod restore;
mod shim;
mod spec;
mod start;
mod task;

pub use config::{Config, Timeouts};
pub use manager::Manager;
