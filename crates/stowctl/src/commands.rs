//! The commands, one file each; groups are folders.

mod images;
mod namespaces;
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
    /// Manage images
    #[command(subcommand, visible_aliases = ["image", "i"])]
    Images(images::Images),
}

/// The commands of `stowctl`.
#[derive(Debug, Subcommand)]
pub(crate) enum StowctlCommand {
    #[command(flatten)]
    Common(Common),
    /// Pull an image by its short or full reference
    Pull(images::pull::PullShort),
}

/// The commands of `ctr`.
#[derive(Debug, Subcommand)]
pub(crate) enum CtrCommand {
    #[command(flatten)]
    Common(Common),
}

impl Common {
    async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Version(command) => command.run(at).await,
            Self::Namespaces(command) => command.run(at).await,
            Self::Images(command) => command.run(at).await,
        }
    }
}

impl StowctlCommand {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Common(command) => command.run(at).await,
            Self::Pull(command) => command.run(at).await,
        }
    }
}

impl CtrCommand {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Common(command) => command.run(at).await,
        }
    }
}
