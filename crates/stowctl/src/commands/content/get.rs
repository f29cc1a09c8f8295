//! `content get`.

use stowd_core::Digest;
use stowd_core::content::Store as _;

use crate::context::Context;
use crate::failure::Outcome;

/// Arguments of `content get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The blob's digest
    digest: String,
}

impl Get {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let digest: Digest = self.digest.parse()?;
        let client = at.client().await?;
        let blob = client.connection().content().open(client.scope(), &digest).await?;
        Ok(super::print(&at.printer, blob.as_ref()).await?)
    }
}
