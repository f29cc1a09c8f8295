//! `shim`.

mod exec;

use std::path::PathBuf;

use clap::Subcommand;
use stowd_client::{Shim, ShimVersion};
use stowd_core::{Error, Result};

use crate::context::Context;
use crate::failure::Outcome;

/// Speaks with a shim, and not with the daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct Shims {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    command: Command,
}

/// Which shim is meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// The shim's id, which is its first container's
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Where the shim listens; derived from its id unless given
    #[arg(long, value_name = "ADDRESS")]
    shim_address: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Delete a container with a task
    Delete {
        /// The container's id
        #[arg(value_name = "CONTAINER", default_value = "", hide_default_value = true)]
        id: String,
    },
    /// Run a further process in the task's container
    Exec(exec::Exec),
    /// Start a container with a task
    Start {
        /// The container's id
        #[arg(value_name = "CONTAINER", default_value = "", hide_default_value = true)]
        id: String,
    },
    /// Print the state of a task
    State {
        /// The task's id; the shim's own unless given
        #[arg(short, long)]
        task_id: Option<String>,
        #[command(flatten)]
        version: Version,
    },
    /// End the shim if it has no container
    Shutdown {
        #[command(flatten)]
        version: Version,
    },
}

/// The version of the shim's service.
#[derive(Debug, clap::Args)]
struct Version {
    /// Version of the shim's API: 2 or 3
    #[arg(long, value_name = "NUMBER", default_value = "3", value_parser = version)]
    api_version: ShimVersion,
}

impl Shims {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let which = self.which;
        match self.command {
            Command::Delete { id } => {
                let status = which.connect(at).await?.delete(&id).await.map_err(as_ctr)?;
                let text = format_args!("container deleted and returned exit status {status}");
                Ok(at.printer.line(text)?)
            }
            Command::Exec(command) => {
                let id = which.id.clone().unwrap_or_default();
                command.run(at, &which.connect(at).await?, &id).await
            }
            Command::Start { id } => {
                which.connect(at).await?.start(&id, "").await.map_err(as_ctr)?;
                Ok(())
            }
            Command::State { task_id, version } => {
                let id = task_id.or_else(|| which.id.clone()).unwrap_or_default();
                let shim = which.connect(at).await?;
                let state = shim.state(&id, version.api_version).await.map_err(as_ctr)?;
                Ok(at.printer.ctr_json(&state)?)
            }
            Command::Shutdown { version } => {
                let shim = which.connect(at).await?;
                Ok(shim.shutdown(version.api_version).await.map_err(as_ctr)?)
            }
        }
    }
}

impl Which {
    async fn connect(&self, at: &Context) -> Result<Shim> {
        let given = self.shim_address.as_deref().filter(|address| !address.is_empty());
        let id = self.id.as_deref().filter(|id| !id.is_empty());
        let mut sockets: Vec<PathBuf> = Vec::new();
        sockets.extend(
            given.map(|address| PathBuf::from(address.strip_prefix("unix://").unwrap_or(address))),
        );
        if let Some(id) = id {
            sockets.extend(Shim::addresses(at.address(), at.namespace(), id));
        }
        if sockets.is_empty() {
            let text = "shim ID (--id) or address (--shim-address) must be specified";
            return Err(Error::unknown(text));
        }
        for socket in &sockets {
            if let Ok(shim) = Shim::connect(socket).await {
                return Ok(shim);
            }
        }
        let tried: Vec<String> = sockets.iter().map(|it| it.display().to_string()).collect();
        Err(Error::unknown(format_args!(
            "fail to connect to container shim with sockets: [{}]",
            tried.join(" ")
        ))
        .hint("the file `address` or `bootstrap.json` in the container's bundle says where it listens"))
    }
}

/// Words a shim's error as ctr does, which shows it as it came.
fn as_ctr(error: Error) -> Error {
    let code = super::plugins::code(error.kind());
    Error::unknown(format_args!("rpc error: code = {code} desc = {error}"))
}

fn version(text: &str) -> Result<ShimVersion, String> {
    match text {
        "2" => Ok(ShimVersion::V2),
        "3" => Ok(ShimVersion::V3),
        _ => Err("api-version must be 2 or 3".to_owned()),
    }
}
