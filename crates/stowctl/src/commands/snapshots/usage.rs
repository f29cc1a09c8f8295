//! `snapshots usage`.

use serde::Serialize;
use stowd_core::snapshots::Snapshotter as _;

use super::Snapshotter;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;
use crate::units;

/// Arguments of `snapshots usage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// Show sizes in bytes
    #[arg(short)]
    bytes: bool,
    /// The snapshots' keys or names; without any, all
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    key: String,
    size: u64,
    inodes: u64,
    #[serde(skip)]
    shown: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["KEY", "SIZE", "INODES"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), self.shown.clone(), self.inodes.to_string()]
    }
}

impl Usage {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let keys = if self.keys.is_empty() {
            it.all().await?.into_iter().map(|info| info.name).collect()
        } else {
            self.keys
        };
        let mut lines = Vec::with_capacity(keys.len());
        for key in keys {
            let usage = it.store.usage(it.scope(), &key).await?;
            let (size, inodes) = (usage.size, usage.inodes);
            let shown = if self.bytes { size.to_string() } else { units::bytes(size) };
            lines.push(Line { key, size, inodes, shown });
        }
        Ok(at.printer.rows(Layout::NARROW, &lines)?)
    }
}
