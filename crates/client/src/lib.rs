//! Containers, tasks and images as objects, for programs that use a stowd or a containerd.
//!
//! A [`Client`] is a connection, a namespace and its defaults. [`Image`], [`Container`] and [`Task`]
//! are handles: cheap to clone, they name an object of the daemon and hold no more than what was
//! read when they were made. What the objects do not cover is reached through the contracts of
//! `core`, which [`Client::connection`] speaks.
//!
//! ```no_run
//! # async fn example() -> stowd_client::Result<()> {
//! use stowd_client::{Client, Io, Pull};
//!
//! let client = Client::connect("/run/containerd/containerd.sock", "default").await?;
//! let image = client.pull(Pull::of("docker.io/library/busybox:latest")).await?;
//!
//! let container = client.new_container("hello").image(&image).args(["echo", "hello"]).create().await?;
//! let task = container.create_task(Io::inherit(), Default::default()).await?;
//! task.start().await?;
//! let exit = task.wait().await?;
//! task.delete().await?;
//! container.delete_with_snapshot().await?;
//! assert_eq!(exit.status, 0);
//! # Ok(()) }
//! ```
//!
//! # What outlives what
//!
//! Dropping a handle does nothing to the object that it names. A task made with [`Io::Streams`]
//! copies its streams in background tasks of the runtime for as long as the handle lives; a program
//! that goes away leaves the container running and its fifos in place, and another may
//! [attach](Container::attach).

mod builder;
mod client;
mod container;
mod convert;
mod fifo;
mod graph;
mod image;
pub mod metrics;
mod options;
mod plain;
mod process;
mod runtime;
mod shim;
mod streams;
mod transfer;
mod unpack;

pub use builder::ContainerBuilder;
pub use client::{Client, Defaults};
pub use container::Container;
pub use convert::Convert;
pub use fifo::DEFAULT_FIFO_ROOT;
pub use graph::{Check, ImageConfigFile, Manifest};
pub use image::Image;
pub use options::{RuncOptions, TaskOptions, runtime_config};
pub use process::{Process, Task};
pub use runtime::RuntimeInfo;
pub use shim::{Shim, ShimExec, ShimState, ShimTime, ShimVersion};
pub use stowd_core::{Error, ErrorKind, Result};
pub use stowd_mount as mount;
pub use stowd_proxy as proxy;
pub use stowd_spec as spec;
pub use streams::{Io, Streams};
pub use transfer::{Export, Import, Pull, Push};
