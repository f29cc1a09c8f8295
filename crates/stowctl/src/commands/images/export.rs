//! `images export`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use stowd_core::{Error, Result};

use super::pull::parse_platforms;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::progress::{self, To};

/// Exports images into an OCI archive, which `docker load` reads as well.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Leave out the manifest.json that Docker reads
    #[arg(long)]
    skip_manifest_json: bool,
    /// Leave out layers that registries do not hold
    #[arg(long)]
    skip_non_distributable: bool,
    /// Export for these platforms, such as linux/arm64
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Export all platforms, which must be there
    #[arg(long)]
    all_platforms: bool,
    /// Has no effect: the daemon has one export, and does it
    #[arg(long)]
    local: bool,
    /// The archive to write; `-` is standard output
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    /// The images' names
    #[arg(required = true, value_name = "REF")]
    images: Vec<String>,
}

impl Export {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let export = stowd_client::Export {
            platforms: parse_platforms(&self.platform)?,
            all_platforms: self.all_platforms,
            skip_compatibility_manifest: self.skip_manifest_json,
            skip_non_distributable: self.skip_non_distributable,
            ..stowd_client::Export::default()
        };
        let client = at.client().await?;
        for image in &self.images {
            // Before a file is made that would then be in the way.
            if let Err(error) = client.image(image).await {
                return Err(super::absent(&client, image, error).await.into());
            }
        }
        let mut partial = Partial::default();
        let (archive, to): (Box<dyn Write + Send>, To) = if self.archive == "-" {
            (Box::new(io::stdout()), To::Error)
        } else {
            (Box::new(partial.create(&self.archive)?), To::Output)
        };
        let job = progress::start(&at.printer);
        client.export_with(self.images, archive, export, Arc::clone(&job) as _).await?;
        partial.keep();
        let summary = job.finish();
        match (at.printer.format(), to) {
            (Format::Json, To::Output) => at.printer.json(&summary)?,
            _ => at.printer.summary(&summary, to)?,
        }
        Ok(())
    }
}

/// An archive that is removed when it does not become whole.
#[derive(Debug, Default)]
struct Partial(Option<PathBuf>);

impl Partial {
    fn create(&mut self, path: &str) -> Result<File> {
        let failed = |error: io::Error| Error::io(format_args!("create {path}"), &error);
        let file = File::create(path).map_err(failed)?;
        // A pipe or a device is nothing to remove.
        if file.metadata().map_err(failed)?.is_file() {
            self.0 = Some(path.into());
        }
        Ok(file)
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // The command has failed already, and says why.
            let _ = fs::remove_file(path);
        }
    }
}
