//! `images import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use stowd_core::transfer::NameRule;
use stowd_core::{Error, Result};

use super::pull::parse_platforms;
use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Format;
use crate::progress::{self, To};
use crate::times;

/// Imports the images of an OCI or Docker archive, compressed or not.
///
/// An OCI archive may name its images by tags alone; --base-name is put before these, or else
/// import-DATE.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Name that is put before tags; images with other full names are left out
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    base_name: String,
    /// Also name images by their digest
    #[arg(long)]
    digests: bool,
    /// Name only those by their digest that the archive gives no name
    #[arg(long, requires = "digests")]
    skip_digest_for_named: bool,
    /// Name to keep the archive's index under
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    index_name: String,
    /// Import all platforms
    #[arg(long)]
    all_platforms: bool,
    /// Import for this platform, such as linux/arm64, instead of this machine's
    #[arg(long)]
    platform: Option<String>,
    /// Do not unpack the images
    #[arg(long)]
    no_unpack: bool,
    /// Has no effect: the daemon has one import, and does it
    #[arg(long)]
    local: bool,
    /// Not possible here: layers are stored as they are
    #[arg(long, hide = true)]
    compress_blobs: bool,
    /// Not possible here: layers are kept
    #[arg(long, hide = true)]
    discard_unpacked_layers: bool,
    /// Has no effect: what is unpacked is always made durable
    #[arg(long)]
    sync_fs: bool,
    /// The snapshotter to unpack into; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// Labels for the images, as KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    /// The archive; `-` is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: String,
}

impl Import {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let impossible = [
            (self.compress_blobs, "--compress-blobs"),
            (self.discard_unpacked_layers, "--discard-unpacked-layers"),
        ];
        if let Some((_, flag)) = impossible.iter().find(|(asked, _)| *asked) {
            return Err(Error::not_implemented(format_args!("import with {flag}")).into());
        }
        let import = stowd_client::Import {
            names: vec![self.names()],
            platforms: parse_platforms(&Vec::from_iter(self.platform))?,
            all_platforms: self.all_platforms,
            labels: labels::parse(&self.label)?,
            index_name: self.index_name,
            unpack: (!self.no_unpack).then_some(self.snapshotter),
        };
        let archive = open(&self.archive)?;
        let client = at.client().await?;
        let job = progress::start(&at.printer);
        client.import_with(archive, import, Arc::clone(&job) as _).await?;
        let summary = job.finish();
        match at.printer.format() {
            Format::Json => at.printer.json(&summary)?,
            Format::Text => at.printer.summary(&summary, To::Output)?,
        }
        Ok(())
    }

    fn names(&self) -> NameRule {
        let given = !self.base_name.is_empty();
        let today = times::now();
        let today = today.split('T').next().unwrap_or_default();
        NameRule {
            name: if given { self.base_name.clone() } else { format!("import-{today}") },
            is_prefix: true,
            // The archive knows better than a name that was made up.
            allow_overwrite: !given,
            add_digest: self.digests,
            skip_named_digest: self.skip_digest_for_named,
        }
    }
}

fn open(path: &str) -> Result<Box<dyn Read + Send>> {
    if path == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let failed = |error: io::Error| Error::io(format_args!("open {path}"), &error);
    let file = File::open(path).map_err(failed)?;
    if Path::new(path).is_dir() {
        return Err(Error::invalid(format_args!("{path} is a folder"))
            .hint("pack it first: tar -C FOLDER -c . | stowctl images import -"));
    }
    Ok(Box::new(file))
}
