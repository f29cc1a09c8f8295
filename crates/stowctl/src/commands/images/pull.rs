//! `images pull`, and `pull` under the program's own name.

use std::sync::Arc;

use serde::Serialize;
use stowd_client::{Client, Image};
use stowd_core::{Error, Platform, Reference, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Format;
use crate::progress::{self, Summary, To};
use crate::registry::{self, OF_RUN, RegistryFlags};

/// Pulls an image from a registry: fetches what is missing, unpacks it, and stores it under its
/// reference, by which it can be run.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    how: Flags,
    /// The image's full reference, such as docker.io/library/busybox:latest
    #[arg(value_name = "REF")]
    reference: String,
}

/// Pulls an image by its short or full reference
#[derive(Debug, clap::Args)]
pub(crate) struct PullShort {
    #[command(flatten)]
    how: Flags,
    /// The image, such as busybox, which means docker.io/library/busybox:latest
    #[arg(value_name = "REF")]
    reference: String,
}

/// What is got of an image, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fetching {
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
    /// Leave out the manifests and configs of other platforms; such an image may not be pushable
    #[arg(long)]
    skip_metadata: bool,
}

/// What a pull can be told.
#[derive(Clone, Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    fetching: Fetching,
    /// The snapshotter to unpack into; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// Print the chain ID of the image, which names the snapshot that it is unpacked to
    #[arg(long)]
    print_chainid: bool,
    /// Not possible here: the daemon's configuration says how many
    #[arg(long, hide = true, value_name = "NUMBER", default_value_t = 0)]
    max_concurrent_downloads: u64,
    /// Has no effect: the daemon has one pull, and does it
    #[arg(long)]
    local: bool,
    /// Has no effect: what is unpacked is always made durable
    #[arg(long)]
    sync_fs: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pulled<'a> {
    name: &'a str,
    #[serde(flatten)]
    target: &'a stowd_core::Descriptor,
    seconds: f64,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain_ids: Vec<String>,
}

impl Pull {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        self.how.pull(at, &self.reference).await
    }
}

impl PullShort {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let reference = Reference::normalize(&self.reference)?.to_string();
        self.how.pull(at, &reference).await
    }
}

impl Fetching {
    /// Fetches an image, and unpacks it into a snapshotter if there is one.
    pub(crate) async fn fetch(
        self,
        at: &Context,
        reference: &str,
        unpack: Option<String>,
    ) -> Result<(Image, Summary)> {
        // Said here already, before anybody is asked for a password.
        reference.parse::<Reference>()?.object()?;
        let platforms = parse_platforms(&self.platform)?;
        let labels = labels::parse(&self.label)?;
        let remote = self.registry.remote(reference)?;
        let pull = stowd_client::Pull {
            from: remote.registry.clone(),
            platforms,
            all_platforms: self.all_platforms,
            all_metadata: !self.skip_metadata,
            labels,
            unpack,
        };
        let client = at.client().await?;
        let job = progress::start(&at.printer);
        let image = client
            .pull_with(pull, Arc::clone(&job) as _)
            .await
            .map_err(|error| remote.hinted(error, &registry::ALL))?;
        Ok((image, job.finish()))
    }
}

impl Flags {
    async fn pull(self, at: &Context, reference: &str) -> Outcome {
        if self.max_concurrent_downloads > 0 {
            let hint = "set max_concurrent_downloads in the daemon's configuration";
            return Err(Error::not_implemented("--max-concurrent-downloads").hint(hint).into());
        }
        let platforms = parse_platforms(&self.fetching.platform)?;
        let (image, summary) = self.fetching.fetch(at, reference, Some(self.snapshotter)).await?;
        let mut chain_ids = Vec::new();
        if self.print_chainid {
            chain_ids = chains(&image, &platforms).await?;
        }
        print(at, &image, &summary, chain_ids)
    }
}

/// Pulls an image as `pull` does where nothing is said but its reference, for this machine's or
/// another platform, and unpacks it into the default snapshotter.
///
/// # Errors
/// Those of the pull, with a hint where something is known.
pub(crate) async fn pull_plainly(
    at: &Context,
    client: &Client,
    registry: RegistryFlags,
    reference: &str,
    platform: Option<&Platform>,
) -> Result<Image> {
    let remote = registry.remote(reference)?;
    let job = progress::start(&at.printer);
    let mut pull = stowd_client::Pull::of(reference);
    pull.from = remote.registry.clone();
    pull.all_metadata = true;
    pull.platforms.extend(platform.cloned());
    let image = client
        .pull_with(pull, Arc::clone(&job) as _)
        .await
        .map_err(|error| remote.hinted(error, &OF_RUN))?;
    if at.printer.is_watched() {
        at.printer.summary(&job.finish(), To::Error)?;
    }
    Ok(image)
}

/// Reads the platforms of a flag.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub(super) fn parse_platforms(words: &[String]) -> Result<Vec<Platform>> {
    words.iter().map(|word| Platform::parse(word)).collect()
}

async fn chains(image: &Image, platforms: &[Platform]) -> Result<Vec<String>> {
    if platforms.is_empty() {
        return Ok(vec![image.chain_id().await?.to_string()]);
    }
    let mut chains = Vec::new();
    for platform in platforms {
        chains.push(image.clone().for_platform(platform).chain_id().await?.to_string());
    }
    Ok(chains)
}

fn print(at: &Context, image: &Image, summary: &Summary, chain_ids: Vec<String>) -> Outcome {
    if at.printer.format() == Format::Json {
        return Ok(at.printer.json(&Pulled {
            name: image.name(),
            target: &image.record().target,
            seconds: summary.seconds,
            bytes: summary.bytes,
            chain_ids,
        })?);
    }
    at.printer.summary(summary, To::Output)?;
    for chain_id in chain_ids {
        at.printer.line(format_args!("image chain ID: {chain_id}"))?;
    }
    Ok(())
}
