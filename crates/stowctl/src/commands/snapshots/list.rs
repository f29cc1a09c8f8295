//! `snapshots list` and `snapshots info`.

use serde::Serialize;
use stowd_core::Labels;
use stowd_core::snapshots::{Info, Snapshotter as _};

use super::{Snapshotter, parent, word};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;
use crate::times;

/// Arguments of `snapshots list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {}

/// Arguments of `snapshots info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The snapshot's key or name
    key: String,
}

/// Spelt as ctr's `snapshots info` prints it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent: String,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    created: String,
    updated: String,
}

impl From<Info> for Line {
    fn from(info: Info) -> Self {
        Self {
            kind: word(info.kind),
            parent: parent(&info).unwrap_or_default().to_owned(),
            name: info.name,
            labels: info.labels,
            created: times::json(info.created),
            updated: times::json(info.updated),
        }
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["KEY", "PARENT", "KIND"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.parent.clone(), self.kind.to_owned()]
    }
}

impl List {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let lines: Vec<Line> = it.all().await?.into_iter().map(Line::from).collect();
        Ok(at.printer.rows(Layout::NARROW, &lines)?)
    }
}

impl Show {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let info = it.store.stat(it.scope(), &self.key).await?;
        Ok(at.printer.ctr_json(&Line::from(info))?)
    }
}
