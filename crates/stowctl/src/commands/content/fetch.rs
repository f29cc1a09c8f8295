//! `content fetch`.

use stowd_core::Error;

use crate::commands::images::pull::Fetching;
use crate::context::Context;
use crate::failure::Outcome;

/// Fetches all content of an image and stores its name, but does not unpack it.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    fetching: Fetching,
    /// Not possible here: layers are always fetched
    #[arg(long, hide = true)]
    metadata_only: bool,
    /// The image's full reference
    #[arg(value_name = "REMOTE")]
    reference: String,
    /// Has no effect, as in ctr
    #[arg(value_name = "OBJECT", hide = true)]
    object: Option<String>,
}

impl Fetch {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        if self.metadata_only {
            return Err(Error::not_implemented("fetch with --metadata-only").into());
        }
        let (_, summary) = self.fetching.fetch(at, &self.reference, None).await?;
        Ok(at.printer.outcome(&summary)?)
    }
}
