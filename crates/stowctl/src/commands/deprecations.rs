//! `deprecations`.

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use stowd_core::introspection::{Deprecation, Introspection as _};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::{self, Row};
use crate::table::Layout;
use crate::times;

/// Show uses of what is going away
#[derive(Debug, Subcommand)]
pub(crate) enum Deprecations {
    /// List what was used that is going away
    List {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As a table
    #[default]
    Default,
    /// As JSON
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    message: String,
    last_occurrence: String,
}

impl Row for Line {
    // ctr ends the head's last cell and not the lines'.
    const COLUMNS: &'static [&'static str] = &["ID", "LAST OCCURRENCE", "MESSAGE    "];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.last_occurrence.clone(), self.message.clone()]
    }
}

impl From<Deprecation> for Line {
    fn from(it: Deprecation) -> Self {
        let last_occurrence = times::json(it.last_occurrence);
        Self { id: it.id, message: it.message, last_occurrence }
    }
}

impl Deprecations {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let Self::List { format } = self;
        let client = at.client().await?;
        let server = client.connection().introspection().server().await?;
        let lines: Vec<Line> = server.deprecations.into_iter().map(Line::from).collect();
        if at.printer.format() == printer::Format::Json {
            at.printer.json(&lines)?;
        } else if lines.is_empty() {
            // As in ctr, nothing at all.
        } else if format == Format::Json {
            at.printer.ctr_json(&lines)?;
        } else {
            at.printer.rows(Layout::WIDE.ragged(), &lines)?;
        }
        Ok(())
    }
}
