//! `content delete` and `content label`.

use std::time::UNIX_EPOCH;

use stowd_core::content::{Info, Store as _};
use stowd_core::{Digest, Result};

use crate::context::Context;
use crate::failure::{Outcome, Worst};
use crate::labels;
use crate::printer::Format;

/// Deletes blobs and prints the digests of those that were there.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The blobs' digests
    #[arg(value_name = "DIGEST")]
    digests: Vec<String>,
}

/// Arguments of `content label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// The blob's digest
    digest: String,
    /// Labels, as KEY=VALUE; KEY= clears one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

impl Delete {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let content = client.connection().content();
        let mut worst = Worst::default();
        for text in &self.digests {
            let deleted: Result<()> = async {
                let digest: Digest = text.parse()?;
                content.delete(client.scope(), &digest).await
            }
            .await;
            match deleted {
                Ok(()) => at.printer.line(text)?,
                // That it is gone is what was asked for.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    worst.add(&at.printer, error.context(format_args!("could not delete {text}")));
                }
            }
        }
        worst.into()
    }
}

impl Label {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let digest: Digest = self.digest.parse()?;
        let wanted = labels::parse(&self.labels)?;
        let client = at.client().await?;
        let (content, scope) = (client.connection().content(), client.scope());
        let info = if wanted.is_empty() {
            // Nothing to change is no reason to clear anything.
            content.info(scope, &digest).await?
        } else {
            let paths = labels::paths(&wanted);
            // The paths name labels only: the rest is not looked at.
            let (created, updated) = (UNIX_EPOCH, UNIX_EPOCH);
            let info = Info { digest, size: 0, created, updated, labels: wanted };
            content.update(scope, info, &paths).await?
        };
        match at.printer.format() {
            Format::Json => at.printer.json(&info.labels)?,
            Format::Text => at.printer.line(crate::arguments::words_of_labels(&info.labels))?,
        }
        Ok(())
    }
}
