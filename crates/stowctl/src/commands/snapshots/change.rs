//! `snapshots commit`, `snapshots delete` and `snapshots label`.

use std::time::UNIX_EPOCH;

use stowd_core::Labels;
use stowd_core::error::ResultExt as _;
use stowd_core::labels::GC_ROOT;
use stowd_core::snapshots::{self, Info, Kind, Snapshotter as _};

use super::Snapshotter;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::{labels, times};

/// Turns an active snapshot into a committed one, on which others can build.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// The committed snapshot's name
    name: String,
    /// The active snapshot's key
    active: String,
}

/// Arguments of `snapshots delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The snapshots' keys or names
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

/// Arguments of `snapshots label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// The snapshot's key or name
    key: String,
    /// Labels, as KEY=VALUE; KEY= clears one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// What people make by hand is kept until they remove it.
pub(super) fn kept() -> Labels {
    Labels::from([(GC_ROOT.to_owned(), times::now())])
}

impl Commit {
    pub(super) async fn run(self, it: &Snapshotter) -> Outcome {
        let commit = snapshots::Commit { labels: kept(), parent: None };
        Ok(it.store.commit(it.scope(), &self.name, &self.active, commit).await?)
    }
}

impl Delete {
    pub(super) async fn run(self, it: &Snapshotter) -> Outcome {
        for key in &self.keys {
            let removed = it.store.remove(it.scope(), key).await;
            removed.context(|| format!("failed to remove {key:?}"))?;
        }
        Ok(())
    }
}

impl Label {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let wanted = labels::parse(&self.labels)?;
        let info = if wanted.is_empty() {
            // Nothing to change is no reason to clear anything.
            it.store.stat(it.scope(), &self.key).await?
        } else {
            let paths = labels::paths(&wanted);
            // The paths name labels only: the rest is not looked at.
            let info = Info {
                kind: Kind::Active,
                name: self.key,
                parent: None,
                labels: wanted,
                created: UNIX_EPOCH,
                updated: UNIX_EPOCH,
            };
            it.store.update(it.scope(), info, &paths).await?
        };
        match at.printer.format() {
            Format::Json => at.printer.json(&info.labels)?,
            Format::Text => at.printer.line(crate::arguments::words_of_labels(&info.labels))?,
        }
        Ok(())
    }
}
