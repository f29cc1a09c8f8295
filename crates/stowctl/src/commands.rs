//! The commands, one file each; groups are folders.

mod completion;
mod containers;
mod content;
mod deprecations;
mod events;
mod images;
mod info;
mod leases;
mod namespaces;
mod oci;
mod plugins;
mod run;
mod sandboxes;
mod shim;
mod snapshots;
mod stress;
mod tasks;
mod version;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Outcome;

pub(crate) use stress::Stress;

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
    /// Manage images
    #[command(subcommand, visible_aliases = ["image", "i"])]
    Images(images::Images),
    /// Manage content
    #[command(subcommand)]
    Content(content::Content),
    /// Manage snapshots
    #[command(visible_alias = "snapshot")]
    Snapshots(snapshots::Snapshots),
    /// Manage leases
    #[command(subcommand)]
    Leases(leases::Leases),
    /// Manage sandboxes
    #[command(subcommand, visible_aliases = ["sandbox", "sb", "s"])]
    Sandboxes(sandboxes::Sandboxes),
    /// Show what the daemon is made of
    #[command(subcommand, visible_alias = "plugin")]
    Plugins(plugins::Plugins),
    /// Print what happens, of all namespaces, until it is ended
    #[command(visible_alias = "event")]
    Events(events::Events),
    /// Print what the daemon says of itself, as JSON
    Info(info::Info),
    /// Show uses of what is going away
    #[command(subcommand)]
    Deprecations(deprecations::Deprecations),
    /// Speak with a shim directly
    Shim(shim::Shims),
    /// Print a shell's completion of commands and flags
    Completion(completion::Completion),
}

/// The commands of `stowctl`.
#[derive(Debug, Subcommand)]
pub(crate) enum StowctlCommand {
    #[command(flatten)]
    Common(Box<Common>),
    Run(Box<run::StowctlRun>),
    /// Pull an image by its short or full reference
    Pull(Box<images::pull::PullShort>),
    /// Create, start and delete containers for a while, and say how many a second
    Stress(Box<Stress>),
}

/// The commands of `ctr`.
#[derive(Debug, Subcommand)]
pub(crate) enum CtrCommand {
    #[command(flatten)]
    Common(Box<Common>),
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
            Self::Images(command) => command.run(at).await,
            Self::Content(command) => command.run(at).await,
            Self::Snapshots(command) => command.run(at).await,
            Self::Leases(command) => command.run(at).await,
            Self::Sandboxes(command) => command.run(at).await,
            Self::Plugins(command) => command.run(at).await,
            Self::Events(command) => command.run(at).await,
            Self::Info(command) => command.run(at).await,
            Self::Deprecations(command) => command.run(at).await,
            Self::Shim(command) => command.run(at).await,
            Self::Completion(command) => command.run(at).await,
        }
    }
}

impl StowctlCommand {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Common(command) => command.run(at).await,
            Self::Run(command) => command.run(at).await,
            Self::Pull(command) => command.run(at).await,
            Self::Stress(command) => command.run(at).await,
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
