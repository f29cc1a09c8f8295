//! The manager.

use std::sync::Arc;

use stowd_core::Result;
use stowd_core::containers;
use stowd_core::events::{Envelope, Exchange};

use crate::Config;

/// Runs containers through shims.
pub struct Manager {
    #[allow(dead_code, reason = "the signatures come first")]
    config: Config,
    #[allow(dead_code, reason = "the signatures come first")]
    containers: Arc<dyn containers::Store>,
    exchange: Arc<dyn Exchange>,
}

impl Manager {
    /// Makes a manager. Its folders are created; tasks from before are not known until
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(
        config: Config,
        containers: Arc<dyn containers::Store>,
        exchange: Arc<dyn Exchange>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { config, containers, exchange }))
    }

    /// Finds the tasks that run since before this daemon: connects to their shims, all at once, and
    /// buries those whose shim is gone. Returns when each task is known or buried.
    pub async fn restore(self: &Arc<Self>) {}

    /// Takes an event that a shim forwarded, and passes it on to the exchange.
    ///
    /// # Errors
    /// As [`Exchange::forward`].
    pub async fn forwarded(&self, envelope: Envelope) -> Result<()> {
        self.exchange.forward(envelope).await
    }
}
