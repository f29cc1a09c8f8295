//! What every command is given.

use std::path::Path;
use std::time::Duration;

use stowd_client::Client;
use stowd_core::{Error, Result};

use crate::cli::{Global, Grammar};
use crate::failure::Outcome;
use crate::printer::Printer;

/// The flags that count for all commands, and where they print.
pub(crate) struct Context {
    pub(crate) printer: Printer,
    grammar: Grammar,
    global: Global,
}

impl Context {
    pub(crate) fn new(grammar: Grammar, global: Global, printer: Printer) -> Self {
        Self { printer, grammar, global }
    }

    /// Connects with the daemon, in the namespace asked for.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.client_at(&self.global.address).await
    }

    /// Connects with a daemon at another address than the one that was said before the command.
    pub(crate) async fn client_at(&self, address: &Path) -> Result<Client> {
        let connecting = Client::connect(address, &self.global.namespace);
        let limit = self.global.connect_timeout;
        if limit.is_zero() {
            return connecting.await;
        }
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
            let address = address.display();
            Err(Error::deadline_exceeded(format_args!("connect to {address} within {limit:?}")))
        })
    }

    /// Returns the grammar of the command line.
    pub(crate) fn grammar(&self) -> Grammar {
        self.grammar
    }

    /// Returns the namespace asked for.
    pub(crate) fn namespace(&self) -> &str {
        &self.global.namespace
    }

    /// Returns the socket's path.
    pub(crate) fn address(&self) -> &Path {
        &self.global.address
    }

    /// Ends a command when its time is over.
    pub(crate) async fn within_timeout(&self, command: impl Future<Output = Outcome>) -> Outcome {
        let limit: Duration = self.global.timeout;
        if limit.is_zero() {
            return command.await;
        }
        tokio::time::timeout(limit, command).await.unwrap_or_else(|_| {
            Err(Error::deadline_exceeded(format_args!("--timeout {limit:?} is over")).into())
        })
    }
}
