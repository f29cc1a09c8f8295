//! `images push`.

use std::sync::Arc;

use stowd_core::{Error, Reference};

use crate::context::Context;
use crate::failure::Outcome;
use crate::progress;
use crate::registry::{self, RegistryFlags};

/// Pushes an image with all that it refers to.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    #[command(flatten)]
    registry: RegistryFlags,
    /// Not possible here: tag the manifest and push that
    #[arg(long, hide = true, value_name = "DIGEST")]
    manifest: Option<String>,
    /// Not possible here
    #[arg(long, hide = true, value_name = "TYPE")]
    manifest_type: Option<String>,
    /// Not possible here: the image is pushed as it is
    #[arg(long, hide = true, value_delimiter = ',')]
    platform: Vec<String>,
    /// Not possible here: the daemon's configuration says how many
    #[arg(long, hide = true, value_name = "NUMBER", default_value_t = 0)]
    max_concurrent_uploaded_layers: u64,
    /// Has no effect: the daemon has one push, and does it
    #[arg(long)]
    local: bool,
    /// Not possible here: layers that registries do not hold are left out
    #[arg(long, hide = true)]
    allow_non_distributable_blobs: bool,
    /// The reference to push to
    #[arg(value_name = "REMOTE")]
    remote: String,
    /// The image's name; without it, the reference
    #[arg(value_name = "LOCAL")]
    local_name: Option<String>,
}

impl Push {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let impossible = [
            (self.manifest.is_some(), "--manifest"),
            (self.manifest_type.is_some(), "--manifest-type"),
            (!self.platform.is_empty(), "--platform"),
            (self.max_concurrent_uploaded_layers > 0, "--max-concurrent-uploaded-layers"),
            (self.allow_non_distributable_blobs, "--allow-non-distributable-blobs"),
        ];
        if let Some((_, flag)) = impossible.iter().find(|(asked, _)| *asked) {
            return Err(Error::not_implemented(format_args!("push with {flag}")).into());
        }
        self.remote.parse::<Reference>()?.object()?;
        let remote = self.registry.remote(&self.remote)?;
        let image = self.local_name.unwrap_or(self.remote);
        let client = at.client().await?;
        // Asked first, so that an image that is not there is told from a repository that is not.
        if let Err(error) = client.image(&image).await {
            return Err(super::absent(&client, &image, error).await.into());
        }
        let job = progress::start(&at.printer);
        let push = stowd_client::Push { image, to: remote.registry.clone() };
        client
            .push_with(push, Arc::clone(&job) as _)
            .await
            .map_err(|error| remote.hinted(error, &registry::ALL))?;
        Ok(at.printer.outcome(&job.finish())?)
    }
}
