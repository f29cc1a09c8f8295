//! `images`.

mod check;
mod convert;
mod delete;
mod export;
mod import;
mod inspect;
mod label;
mod list;
mod mount;
pub(super) mod pull;
mod push;
mod tag;
mod usage;

use clap::Subcommand;
use stowd_client::Client;
use stowd_core::images::Store as _;
use stowd_core::{Error, Reference};

use crate::context::Context;
use crate::failure::Outcome;

/// Manage images
#[derive(Debug, Subcommand)]
pub(crate) enum Images {
    /// Check existing images to ensure all content is available locally
    Check(check::Check),
    /// Make another image of one: uncompressed, or with OCI's media types
    Convert(convert::Convert),
    /// Export images into an archive
    Export(export::Export),
    /// Import images from an archive
    Import(import::Import),
    /// Show what an image is made of
    #[command(visible_alias = "i")]
    Inspect(inspect::Inspect),
    /// List images
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Mount an image to a target path
    Mount(mount::Mount),
    /// Unmount the image from the target
    Unmount(mount::Unmount),
    /// Pull an image from a registry
    Pull(pull::Pull),
    /// Push an image to a registry
    Push(push::Push),
    /// Remove images that no container uses
    Prune(delete::Prune),
    /// Remove one or more images by reference
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete(delete::Delete),
    /// Give an image further names
    Tag(tag::Tag),
    /// Set and clear labels of an image
    Label(label::Label),
    /// Show what an image's snapshots take on disk
    Usage(usage::Usage),
}

impl Images {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Check(command) => command.run(at).await,
            Self::Convert(command) => command.run(at).await,
            Self::Export(command) => command.run(at).await,
            Self::Import(command) => command.run(at).await,
            Self::Inspect(command) => command.run(at).await,
            Self::List(command) => command.run(at).await,
            Self::Mount(command) => command.run(at).await,
            Self::Unmount(command) => command.run(at).await,
            Self::Pull(command) => command.run(at).await,
            Self::Push(command) => command.run(at).await,
            Self::Prune(command) => command.run(at).await,
            Self::Delete(command) => command.run(at).await,
            Self::Tag(command) => command.run(at).await,
            Self::Label(command) => command.run(at).await,
            Self::Usage(command) => command.run(at).await,
        }
    }
}

/// Adds to the error about an image that is not there how the one that was meant is stored.
pub(crate) async fn absent(client: &Client, name: &str, error: Error) -> Error {
    if !error.is_not_found() || error.hint_text().is_some() {
        return error;
    }
    let full = Reference::normalize(name).map(|reference| reference.to_string());
    if let Ok(full) = full
        && full != name
        && client.connection().images().get(client.scope(), &full).await.is_ok()
    {
        return error.hint(format_args!("names are written in full here: {full}"));
    }
    error.hint("`images ls -q` lists the names of all images")
}
