//! The commands, one file each; groups are folders.

mod containers;
mod namespaces;
mod oci;
mod run;
mod tasks;
mod version;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands that are the same under both of the program's names.
#[derive(Debug, Subcommand)]
pub(crate) enum Common {
    /// Print the client and server versions
    Version(version::Version),
    /// Manage namespaces
    #[command(subcommand, visible_aliases = ["namespace", "ns"])]
    Namespaces(namespaces::Namespaces),
    /// Manage containers
    #[command(subcommand, visible_aliases = ["c", "container"])]
    Containers(containers::Containers),
    /// Manage tasks: containers that run
    #[command(subcommand, visible_aliases = ["t", "task"])]
    Tasks(tasks::Tasks),
    /// OCI tools
    #[command(subcommand)]
    Oci(oci::Oci),
}

/// The commands of `stowctl`.
#[derive(Debug, Subcommand)]
pub(crate) enum StowctlCommand {
    #[command(flatten)]
    Common(Common),
    Run(Box<run::StowctlRun>),
}

/// The commands of `ctr`.
#[derive(Debug, Subcommand)]
pub(crate) enum CtrCommand {
    #[command(flatten)]
    Common(Common),
    Run(Box<run::CtrRun>),
}

impl Common {
    async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Version(command) => command.run(at).await,
            Self::Namespaces(command) => command.run(at).await,
            Self::Containers(command) => command.run(at).await,
            Self::Tasks(command) => command.run(at).await,
            Self::Oci(command) => command.run(at).await,
        }
    }
}

impl StowctlCommand {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Common(command) => command.run(at).await,
            Self::Run(command) => command.run(at).await,
        }
    }
}

impl CtrCommand {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Common(command) => command.run(at).await,
            Self::Run(command) => command.run(at).await,
        }
    }
}
