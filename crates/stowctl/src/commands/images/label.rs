//! `images label`.

use std::time::UNIX_EPOCH;

use stowd_core::images::{Image, Store as _};
use stowd_core::{Descriptor, Digest};

use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Format;

/// Arguments of `images label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// Replace all labels
    #[arg(short, long)]
    replace_all: bool,
    /// The image's name
    name: String,
    /// Labels, as KEY=VALUE; KEY= clears one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

impl Label {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let wanted = labels::parse(&self.labels)?;
        let client = at.client().await?;
        let (images, scope) = (client.connection().images(), client.scope());
        let done = if wanted.is_empty() {
            // Nothing to change is no reason to clear anything.
            images.get(scope, &self.name).await
        } else {
            let paths =
                if self.replace_all { vec!["labels".to_owned()] } else { labels::paths(&wanted) };
            // The paths name labels only: the target is not looked at.
            let image = Image {
                name: self.name.clone(),
                target: Descriptor::new("", Digest::of(b""), 0),
                labels: wanted,
                created: UNIX_EPOCH,
                updated: UNIX_EPOCH,
            };
            images.update(scope, image, &paths).await
        };
        let image = match done {
            Ok(image) => image,
            Err(error) => return Err(super::absent(&client, &self.name, error).await.into()),
        };
        match at.printer.format() {
            Format::Json => at.printer.json(&image.labels)?,
            Format::Text => at.printer.line(crate::arguments::words_of_labels(&image.labels))?,
        }
        Ok(())
    }
}
