//! `content fetch`.

use std::sync::Arc;

use stowd_core::{Error, Platform, Reference, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Format;
use crate::progress::{self, To};
use crate::registry::{self, RegistryFlags};

/// Fetches all content of an image and stores its name, but does not unpack it.
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    registry: RegistryFlags,
    /// Labels for the image, as KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    /// Fetch for these platforms, such as linux/arm64, instead of this machine's
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Fetch for all platforms
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Fetch the manifests and configs of all platforms, as is done without it, too
    #[arg(long, hide = true)]
    all_metadata: bool,
    /// Leave out the manifests and configs of other platforms
    #[arg(long)]
    skip_metadata: bool,
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
        self.reference.parse::<Reference>()?.object()?;
        let platforms: Result<Vec<Platform>> =
            self.platform.iter().map(|word| Platform::parse(word)).collect();
        let labels = labels::parse(&self.label)?;
        let remote = self.registry.remote(&self.reference)?;
        let pull = stowd_client::Pull {
            from: remote.registry.clone(),
            platforms: platforms?,
            all_platforms: self.all_platforms,
            all_metadata: !self.skip_metadata,
            labels,
            unpack: None,
        };
        let client = at.client().await?;
        let job = progress::start(&at.printer);
        client
            .pull_with(pull, Arc::clone(&job) as _)
            .await
            .map_err(|error| remote.hinted(error, &registry::ALL))?;
        let summary = job.finish();
        match at.printer.format() {
            Format::Json => at.printer.json(&summary)?,
            Format::Text => at.printer.summary(&summary, To::Output)?,
        }
        Ok(())
    }
}
