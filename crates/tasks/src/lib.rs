//! Runs containers through shims: implements [`stowd_core::tasks::Tasks`], and
//! [`stowd_core::sandboxes::Controller`] for shims that keep sandboxes.
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
//! #     mounts: Arc<dyn stowd_core::mounts::Manager>,
//! #     sandboxes: Arc<dyn stowd_core::sandboxes::Store>,
//! #     exchange: Arc<dyn stowd_core::events::Exchange>,
//! #     envelope: stowd_core::events::Envelope,
//! # ) -> stowd_core::Result<()> {
//! let manager = stowd_tasks::Manager::new(config, containers, mounts, sandboxes, exchange)?;
//! // The ttrpc socket must be served before this, or shims cannot deliver what they held back:
//! manager.restore().await;
//! // for every `Forward` on the ttrpc socket, in its order, instead of Exchange::forward:
//! manager.forwarded(envelope).await?;
//! # Ok(()) }
//! ```
//!
//! # Two ways to start
//!
//! stowd's own shim is handed the socket that it serves, already listening, and is connected to at
//! once: one program is started, nothing is waited for, and what only readers need (`bootstrap.json`,
//! `shim.pid`, …) is written while the shim works. Any other shim is started as containerd does it:
//! `PROGRAM … start` makes a background process and prints where that listens; the version that
//! `-v` prints decides whether it is given parameters (2.3 and later) or only options. Containers
//! of one group (annotation `io.kubernetes.cri.sandbox-id` or `io.containerd.runc.v2.group`) share
//! a shim either way.
//!
//! # Sandboxes
//!
//! A sandbox ([`stowd_core::sandboxes`]) has a bundle below
//! `STATE/io.containerd.sandbox.controller.v1.shim/` and a shim, which must serve
//! `containerd.runtime.sandbox.v1.Sandbox`; [`Manager::sandboxes`] is its controller. Its id is taken
//! for tasks, too, as in containerd. The sandbox holds its shim: that is shut down with it, not with
//! the last of its tasks. Its exit is told once, by who waits for it here from its start on, or when
//! the shim dies; `told` in the bundle keeps the next daemon from telling it again.
//!
//! # When a shim dies or hangs
//!
//! A shim is watched by its connection and, where its pid is known, by its process. When it is gone,
//! each of its tasks is buried: its init and its cgroup are killed, the shim's program cleans up
//! (`delete`; if that fails, too, we do), one exit is told for each process that had none, then the
//! task's deletion; bundle and mounts are removed, and whoever waits gets the exit.
//!
//! Every call has a deadline. When that of a call that changes something passes, the shim is asked
//! the simplest question there is; without an answer it is killed, and the above follows. Questions
//! about state and numbers never kill: a loaded machine is slow.
//!
//! # After a restart
//!
//! Tasks whose shim answers are taken on, also those whose container is not known: the metadata may
//! be lost, or still be another containerd's, and killing what runs would be worse. Shims without
//! their task are shut down; the others are buried.
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
mod info;
mod manager;
mod placed;
mod program;
mod restore;
mod rootfs;
mod sandboxes;
mod sealed;
mod shim;
mod spec;
mod start;
mod task;

pub use config::{Config, Timeouts};
pub use manager::Manager;
