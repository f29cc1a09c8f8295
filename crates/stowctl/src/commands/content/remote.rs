//! `content fetch-object`, `fetch-blob` and `push-object`: single objects of a registry.
//!
//! The daemon moves whole images only, so here this program speaks with the registry itself.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use stowd_core::content::Store as _;
use stowd_core::registry::{Pushed, Registries as _, Repository, Tagged};
use stowd_core::{Descriptor, Digest, Error, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::{Format, Printer};
use crate::registry::{self, RegistryFlags, Remote};

/// Prints what a reference names on its registry.
#[derive(Debug, clap::Args)]
pub(crate) struct FetchObject {
    #[command(flatten)]
    registry: RegistryFlags,
    /// The full reference, with a tag or a digest
    #[arg(value_name = "REMOTE")]
    reference: String,
    /// Has no effect, as in ctr
    #[arg(value_name = "OBJECT", hide = true)]
    object: Vec<String>,
}

/// Prints blobs, which their digests name, of a repository on a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct FetchBlob {
    #[command(flatten)]
    registry: RegistryFlags,
    /// The media type to ask for
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    media_type: String,
    /// The repository; a tag has no effect
    #[arg(value_name = "REMOTE")]
    reference: String,
    /// The blobs' digests
    #[arg(value_name = "DIGEST")]
    digests: Vec<String>,
}

/// Sends a blob of the store to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct PushObject {
    #[command(flatten)]
    registry: RegistryFlags,
    /// The reference to push to; a manifest gets its tag
    #[arg(value_name = "REMOTE")]
    reference: String,
    /// The blob's digest
    #[arg(value_name = "OBJECT")]
    digest: String,
    /// Its media type
    #[arg(value_name = "TYPE", default_value = "", hide_default_value = true)]
    media_type: String,
}

impl FetchObject {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        let remote = self.registry.remote(&self.reference)?;
        let fetched = async {
            let repository = open(&remote)?;
            let found = repository.resolve().await?;
            print(&at.printer, &*repository, &found).await
        };
        Ok(fetched.await.map_err(|error| remote.hinted(error, &registry::ALL))?)
    }
}

impl FetchBlob {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        if self.digests.is_empty() {
            return Err(Error::unknown("must specify digests").into());
        }
        let digests: Result<Vec<Digest>> = self.digests.iter().map(|text| text.parse()).collect();
        let remote = self.registry.remote(&self.reference)?;
        let fetched = async {
            let repository = open(&remote)?;
            for digest in digests? {
                let found = repository.find(&digest, &self.media_type).await?;
                print(&at.printer, &*repository, &found).await?;
            }
            Ok(())
        };
        Ok(fetched.await.map_err(|error| remote.hinted(error, &registry::ALL))?)
    }
}

impl PushObject {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        let digest: Digest = self.digest.parse()?;
        let client = at.client().await?;
        let content = client.connection().content();
        let remote = self.registry.remote(&self.reference)?;
        let info = content.info(client.scope(), &digest).await?;
        let blob = content.open(client.scope(), &digest).await?;
        let what = Descriptor::new(self.media_type, digest, info.size);
        let pushed = async {
            let repository = open(&remote)?;
            repository.push(&what, blob, &[], Tagged::Yes, Arc::new(|_| {})).await
        };
        let pushed = pushed.await.map_err(|error| remote.hinted(error, &registry::ALL))?;
        if pushed == Pushed::Existed {
            let text = format_args!("content {} on remote", what.digest);
            return Err(Error::already_exists(text).into());
        }
        match at.printer.format() {
            Format::Json => at.printer.json(&what)?,
            Format::Text => {
                at.printer.line(format_args!("Pushed {} {}", what.digest, what.media_type))?;
            }
        }
        Ok(())
    }
}

fn open(remote: &Remote) -> Result<Arc<dyn Repository>> {
    let config = stowd_registry::Config {
        user_agent: concat!("stowctl/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..stowd_registry::Config::default()
    };
    stowd_registry::Client::new(config).repository(&remote.registry)
}

/// Prints an object as it comes, as ctr does: its digest could be checked only when it is out.
async fn print(printer: &Printer, from: &dyn Repository, what: &Descriptor) -> Result<()> {
    let mut download = from.fetch(what, 0).await?;
    while let Some(piece) = download.try_next().await? {
        printer.bytes(&piece)?;
    }
    Ok(())
}
