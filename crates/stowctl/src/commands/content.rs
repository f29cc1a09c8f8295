//! `content`.

mod active;
mod change;
mod edit;
mod fetch;
mod get;
mod ingest;
mod list;
mod prune;
mod remote;

use clap::Subcommand;
use stowd_core::Result;
use stowd_core::content::Blob;

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Printer;

/// Manage content
#[derive(Debug, Subcommand)]
pub(crate) enum Content {
    /// Show what is being written
    Active(active::Active),
    /// Delete one or more blobs; what image refers to them does not matter
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete(change::Delete),
    /// Edit a blob and print the digest of what comes out
    Edit(edit::Edit),
    /// Fetch all content of an image without unpacking it
    Fetch(fetch::Fetch),
    /// Print what a reference names on its registry
    FetchObject(remote::FetchObject),
    /// Print blobs of a repository on a registry
    FetchBlob(remote::FetchBlob),
    /// Write a blob to standard output
    Get(get::Get),
    /// Store standard input as a blob
    Ingest(ingest::Ingest),
    /// List all blobs
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Set and clear labels of a blob
    Label(change::Label),
    /// Send a blob to a registry
    PushObject(remote::PushObject),
    /// Remove what keeps content
    #[command(subcommand)]
    Prune(prune::Prune),
}

impl Content {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Active(command) => command.run(at).await,
            Self::Delete(command) => command.run(at).await,
            Self::Edit(command) => command.run(at).await,
            Self::Fetch(command) => command.run(at).await,
            Self::FetchObject(command) => command.run(at).await,
            Self::FetchBlob(command) => command.run(at).await,
            Self::PushObject(command) => command.run(at).await,
            Self::Get(command) => command.run(at).await,
            Self::Ingest(command) => command.run(at).await,
            Self::List(command) => command.run(at).await,
            Self::Label(command) => command.run(at).await,
            Self::Prune(command) => command.run(at).await,
        }
    }
}

/// How much of a blob is asked for at a time.
const PIECE: usize = 4 << 20;

/// Writes a blob to standard output.
///
/// # Errors
/// Those of reading and writing.
pub(super) async fn print(printer: &Printer, blob: &dyn Blob) -> Result<()> {
    let mut offset = 0;
    loop {
        let piece = blob.read_at(offset, PIECE).await?;
        if piece.is_empty() {
            return Ok(());
        }
        printer.bytes(&piece)?;
        offset += piece.len() as u64;
    }
}
