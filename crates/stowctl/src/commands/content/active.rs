//! `content active`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use stowd_core::Error;
use stowd_core::content::Store as _;
use stowd_core::filters::Filters;

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::tabs::{self, Fill};
use crate::{times, units};

/// Arguments of `content active`.
#[derive(Debug, clap::Args)]
pub(crate) struct Active {
    /// Total time for the command
    #[arg(short, long, env = "CONTAINERD_FETCH_TIMEOUT", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// Has no effect: the daemon knows where its content is
    #[arg(long, hide = true)]
    root: Option<PathBuf>,
    /// Only those whose reference matches this regular expression, or a filter such as ref==NAME
    #[arg(value_name = "REGEXP")]
    pattern: Option<String>,
}

#[derive(Serialize)]
struct Line {
    #[serde(rename = "ref")]
    reference: String,
    offset: u64,
    total: u64,
    started: String,
    updated: String,
    #[serde(skip)]
    age: String,
}

impl Active {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let filters: Vec<String> = self.pattern.iter().map(|pattern| filter(pattern)).collect();
        let filters = Filters::parse(&filters)?;
        let asking = async {
            let client = at.client().await?;
            client.connection().content().statuses(client.scope(), &filters).await
        };
        let found = match self.timeout.filter(|limit| !limit.is_zero()) {
            Some(limit) => tokio::time::timeout(limit, asking).await.map_err(|_| {
                Error::deadline_exceeded(format_args!("--timeout {limit:?} is over"))
            })?,
            None => asking.await,
        }?;
        let lines: Vec<Line> = found
            .into_iter()
            .map(|status| Line {
                reference: status.reference,
                offset: status.offset,
                total: status.total,
                started: times::json(status.started),
                updated: times::json(status.updated),
                age: times::age(status.started),
            })
            .collect();
        if at.printer.format() == Format::Json {
            return Ok(at.printer.json(&lines)?);
        }
        let mut text = "REF\tSIZE\tAGE\t\n".to_owned();
        for Line { reference, offset, age, .. } in lines {
            text.push_str(&format!("{reference}\t{}\t{age}\t\n", units::decimal_bytes(offset)));
        }
        Ok(at.printer.bytes(tabs::set(&text, Fill::Tabs).as_bytes())?)
    }
}

/// ctr calls its argument a regular expression and takes a filter; both will do.
fn filter(pattern: &str) -> String {
    let is_filter = ["==", "!=", "~="].iter().any(|operator| pattern.contains(operator));
    if is_filter { pattern.to_owned() } else { format!("ref~=|{}|", pattern.replace('|', "\\|")) }
}
