//! `snapshots`.

mod change;
mod diff;
mod list;
mod mounts;
mod tree;
mod unpack;
mod usage;

use clap::Subcommand;
use futures_util::TryStreamExt as _;
use stowd_client::Client;
use stowd_client::proxy::snapshots::Snapshots as Store;
use stowd_core::filters::Filters;
use stowd_core::snapshots::{Info, Kind, Snapshotter as _};
use stowd_core::{Result, Scope};

use crate::context::Context;
use crate::failure::Outcome;

/// Manage snapshots
#[derive(Debug, clap::Args)]
pub(crate) struct Snapshots {
    /// The snapshotter to use; without one, the namespace's
    #[arg(
        long,
        global = true,
        env = "CONTAINERD_SNAPSHOTTER",
        default_value = "",
        hide_default_value = true
    )]
    snapshotter: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn an active snapshot into a committed one
    Commit(change::Commit),
    /// Write the layer that leads from one snapshot to another to standard output
    Diff(diff::Diff),
    /// Show what is known of a snapshot
    Info(list::Show),
    /// List snapshots
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Print the commands that mount an active snapshot or a view
    #[command(visible_aliases = ["m", "mount"])]
    Mounts(mounts::Mounts),
    /// Make an active snapshot on a committed one
    Prepare(mounts::Prepare),
    /// Remove snapshots
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete(change::Delete),
    /// Set and clear labels of a snapshot
    Label(change::Label),
    /// Show which snapshot builds on which
    Tree(tree::Tree),
    /// Unpack the image of a manifest
    Unpack(unpack::Unpack),
    /// Show what snapshots take on disk
    Usage(usage::Usage),
    /// Make a read-only snapshot of a committed one
    View(mounts::View),
}

/// A snapshotter and on whose behalf it is asked.
pub(super) struct Snapshotter {
    client: Client,
    store: Store,
}

impl Snapshots {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let name = match self.snapshotter.as_str() {
            "" => client.defaults().await?.snapshotter,
            given => given.to_owned(),
        };
        let it = Snapshotter { store: client.connection().snapshotter(name), client };
        match self.command {
            Command::Commit(command) => command.run(&it).await,
            Command::Diff(command) => command.run(at, &it).await,
            Command::Info(command) => command.run(at, &it).await,
            Command::List(command) => command.run(at, &it).await,
            Command::Mounts(command) => command.run(at, &it).await,
            Command::Prepare(command) => command.run(at, &it).await,
            Command::Delete(command) => command.run(&it).await,
            Command::Label(command) => command.run(at, &it).await,
            Command::Tree(command) => command.run(at, &it).await,
            Command::Unpack(command) => command.run(at, &it).await,
            Command::Usage(command) => command.run(at, &it).await,
            Command::View(command) => command.run(at, &it).await,
        }
    }
}

impl Snapshotter {
    fn scope(&self) -> &Scope {
        self.client.scope()
    }

    /// Lists all snapshots in the order of their names.
    async fn all(&self) -> Result<Vec<Info>> {
        let mut pieces = self.store.list(self.scope(), Filters::default()).await?;
        let mut found = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            found.extend(piece);
        }
        Ok(found)
    }
}

/// A kind's name in tables and JSON.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::View => "View",
        Kind::Active => "Active",
        Kind::Committed => "Committed",
    }
}

/// A key's parent, where it has one.
fn parent(info: &Info) -> Option<&str> {
    info.parent.as_deref().filter(|parent| !parent.is_empty())
}
