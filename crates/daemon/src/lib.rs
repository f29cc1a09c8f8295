//! The daemon: configuration, the composition root, sockets, shutdown.
//!
//! [`Config`] says what is wanted, [`Config::build`] makes the [`Engine`] of it in plain code, part
//! by part, and [`Engine::serve`] puts the engine behind sockets. A Rust program that wants a
//! container engine in its own process builds one and uses its contracts directly, or has it
//! [work](Engine::embed) behind the objects of `stowd-client`:
//!
//! ```no_run
//! # async fn example() -> stowd_core::Result<()> {
//! use std::path::Path;
//!
//! let (root, state) = (Path::new("/var/lib/mine"), Path::new("/run/mine"));
//! // Only the ttrpc socket beside this one is made: shims send events there.
//! let config = stowd::Config::new(root, state, &state.join("mine.sock"));
//! let engine = config.build().await?.embed().await?;
//! // let client = stowd_client::Client::over(engine.connection(), "default")?;
//! engine.stop().await
//! # }
//! ```
//!
//! This is the only crate that names all implementations. What containerd finds by registration
//! and look-up is ordinary construction here; the list of plugins that clients ask for is data
//! that construction leaves behind ([`plugins`]).

pub mod config;
pub mod dump;
pub mod plugins;
pub mod process;
pub mod reload;

mod embed;
mod engine;
mod gate;
mod introspection;
mod lock;
mod logging;
mod notify;
mod sandboxers;
mod serve;
mod sockets;
mod streams;

pub use config::Config;
pub use embed::Embedded;
pub use engine::{Differ, Engine};
pub use logging::{Level, Logger};
pub use serve::Stop;

/// The version that stowd reports: containerd's whose API it speaks, and its own behind the `+`.
pub const VERSION: &str = concat!("v2.4.0+stowd.", env!("CARGO_PKG_VERSION"));

/// The source's revision, where the build was told one.
pub const REVISION: &str = match option_env!("STOWD_REVISION") {
    Some(revision) => revision,
    None => "",
};
