//! `version`.

use serde::Serialize;
use stowd_core::introspection::Introspection as _;

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;

/// Prints the versions of this program and of the daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {}

#[derive(Serialize)]
struct Both {
    client: Client,
    server: Option<Server>,
}

#[derive(Serialize)]
struct Client {
    version: &'static str,
}

#[derive(Serialize)]
struct Server {
    version: String,
    revision: String,
    uuid: String,
}

impl Version {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let mine = Client { version: env!("CARGO_PKG_VERSION") };
        let text = at.printer.format() == Format::Text;
        if text {
            // Before the daemon is asked, as this much is known without it.
            at.printer.line(format_args!("Client:\n  Version:  {}\n", mine.version))?;
        }
        let client = at.client().await?;
        let version = client.version().await?;
        let uuid = client.connection().introspection().server().await?.uuid;
        let server = Server { version: version.version, revision: version.revision, uuid };
        if !text {
            return Ok(at.printer.json(&Both { client: mine, server: Some(server) })?);
        }
        at.printer.line(format_args!(
            "Server:\n  Version:  {}\n  Revision: {}\n  UUID: {}",
            server.version, server.revision, server.uuid
        ))?;
        Ok(())
    }
}
