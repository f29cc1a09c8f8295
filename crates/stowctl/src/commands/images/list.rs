//! `images list`.

use std::collections::BTreeSet;

use futures_util::future;
use serde::Serialize;
use stowd_client::Image;
use stowd_core::Labels;
use stowd_core::error::ResultExt as _;
use stowd_core::filters::Filters;

use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Row;
use crate::table::Layout;
use crate::units;

/// Arguments of `images list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Print only the images' names
    #[arg(short, long)]
    quiet: bool,
    /// Only images that pass one of these, such as name==NAME or labels.KEY==VALUE
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    name: String,
    media_type: String,
    digest: String,
    size: u64,
    platforms: BTreeSet<String>,
    labels: Labels,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"];

    fn cells(&self) -> Vec<String> {
        let platforms: Vec<&str> = self.platforms.iter().map(String::as_str).collect();
        vec![
            self.name.clone(),
            self.media_type.clone(),
            self.digest.clone(),
            units::bytes(self.size),
            if platforms.is_empty() { "-".to_owned() } else { platforms.join(",") },
            labels::cell(&self.labels),
        ]
    }
}

impl List {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let filters = Filters::parse(&self.filters)?;
        let client = at.client().await?;
        let images = client.images(&filters).await.context(|| "failed to list images")?;
        if self.quiet {
            for image in images {
                at.printer.line(image.name())?;
            }
            return Ok(());
        }
        // Each image costs some calls; they do not wait for each other.
        let lines = future::join_all(images.iter().map(|image| line(at, image))).await;
        Ok(at.printer.rows(Layout::NARROW, &lines)?)
    }
}

async fn line(at: &Context, image: &Image) -> Line {
    let record = image.record();
    let size = image.size().await.unwrap_or_else(|error| {
        at.printer
            .note(format_args!("failed calculating size for image {}: {error}", image.name()));
        0
    });
    let platforms = image.platforms().await.unwrap_or_else(|error| {
        let name = image.name();
        at.printer.note(format_args!("failed resolving platform for image {name}: {error}"));
        Vec::new()
    });
    Line {
        name: record.name.clone(),
        media_type: record.target.media_type.clone(),
        digest: record.target.digest.to_string(),
        size,
        platforms: platforms.iter().map(ToString::to_string).collect(),
        labels: record.labels.clone(),
    }
}
