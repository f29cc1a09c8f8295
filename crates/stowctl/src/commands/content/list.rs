//! `content list`.

use futures_util::TryStreamExt as _;
use serde::Serialize;
use stowd_core::Labels;
use stowd_core::content::{Info, Store as _};
use stowd_core::filters::Filters;

use crate::context::Context;
use crate::failure::Outcome;
use crate::labels;
use crate::printer::Format;
use crate::tabs::{self, Fill};
use crate::{times, units};

/// Arguments of `content list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Print only the blobs' digests
    #[arg(short, long)]
    quiet: bool,
    /// Only blobs that pass one of these, such as labels.KEY==VALUE
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    digest: String,
    size: u64,
    created: String,
    updated: String,
    labels: Labels,
}

impl List {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let filters = Filters::parse(&self.filters)?;
        let client = at.client().await?;
        let mut pieces = client.connection().content().list(client.scope(), filters).await?;
        let mut found: Vec<Info> = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            if self.quiet {
                // As they come: there may be many.
                for info in piece {
                    at.printer.line(&info.digest)?;
                }
            } else {
                found.extend(piece);
            }
        }
        if self.quiet {
            return Ok(());
        }
        if at.printer.format() == Format::Json {
            let lines: Vec<Line> = found.into_iter().map(Line::from).collect();
            return Ok(at.printer.json(&lines)?);
        }
        let mut text = "DIGEST\tSIZE\tAGE\tLABELS\n".to_owned();
        for info in found {
            let (size, age) = (units::decimal_bytes(info.size), times::age(info.created));
            text.push_str(&format!(
                "{}\t{size}\t{age}\t{}\n",
                info.digest,
                labels::cell(&info.labels)
            ));
        }
        Ok(at.printer.bytes(tabs::set(&text, Fill::Tabs).as_bytes())?)
    }
}

impl From<Info> for Line {
    fn from(info: Info) -> Self {
        Self {
            digest: info.digest.to_string(),
            size: info.size,
            created: times::json(info.created),
            updated: times::json(info.updated),
            labels: info.labels,
        }
    }
}
