//! Named streams between a client and the daemon.
//!
//! A client opens a stream under an id of its choice and then names that id in another call, which
//! takes the stream over: bytes of an archive one way, progress the other. A stream that nobody
//! takes ends with its client.
//!
//! # Errors
//!
//! `AlreadyExists`: an id in use. `NotFound`: take of an id that no client has opened.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Any, Result, Scope};

/// Both ends of a stream look alike.
#[async_trait]
pub trait Stream: Send + Sync {
    /// Sends a message; waits while the other side is behind.
    async fn send(&self, message: Any) -> Result<()>;

    /// Receives the next message; nothing when the other side has ended the stream.
    async fn receive(&self) -> Result<Option<Any>>;

    /// Ends the sending direction.
    async fn close(&self) -> Result<()>;
}

/// Keeps streams between the call that opens one and the call that takes it.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Registers a stream.
    async fn register(&self, scope: &Scope, id: &str, stream: Arc<dyn Stream>) -> Result<()>;

    /// Takes a stream.
    async fn take(&self, scope: &Scope, id: &str) -> Result<Arc<dyn Stream>>;

    /// Forgets a stream whose client has gone; one that was taken is forgotten already.
    async fn forget(&self, scope: &Scope, id: &str);
}
