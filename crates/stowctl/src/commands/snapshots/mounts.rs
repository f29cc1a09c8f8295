//! `snapshots prepare`, `snapshots view` and `snapshots mounts`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use stowd_core::mount::Mount;
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Labels, Result};

use super::{Snapshotter, change};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;

/// Arguments of `snapshots prepare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    made: Made,
}

/// Arguments of `snapshots view`.
#[derive(Debug, clap::Args)]
pub(crate) struct View {
    #[command(flatten)]
    made: Made,
}

/// What is made, and what is shown of it.
#[derive(Debug, clap::Args)]
struct Made {
    /// Print the commands that mount it at this folder
    #[arg(short, long, value_name = "FOLDER")]
    target: Option<String>,
    /// Print its mounts as JSON
    #[arg(long)]
    mounts: bool,
    /// A key for the snapshot
    key: String,
    /// The committed snapshot that it builds on
    parent: Option<String>,
}

/// Arguments of `snapshots mounts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Mounts {
    /// The folder to mount at
    target: String,
    /// The snapshot's key
    key: String,
}

/// Spelt as ctr prints it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    r#type: &'a str,
    source: &'a str,
    target: &'a str,
    options: Option<&'a [String]>,
}

impl Prepare {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let Made { key, parent, .. } = &self.made;
        let labels = change::kept();
        let mounts = it.store.prepare(it.scope(), key, parent.as_deref(), labels).await?;
        Ok(self.made.show(at, &mounts)?)
    }
}

impl View {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let Made { key, parent, .. } = &self.made;
        let mounts = it.store.view(it.scope(), key, parent.as_deref(), Labels::new()).await?;
        Ok(self.made.show(at, &mounts)?)
    }
}

impl Mounts {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let mounts = it.store.mounts(it.scope(), &self.key).await?;
        match at.printer.format() {
            Format::Json => at.printer.json(&shown(&mounts))?,
            Format::Text => print(at, &self.target, &mounts)?,
        }
        Ok(())
    }
}

impl Made {
    fn show(&self, at: &Context, mounts: &[Mount]) -> Result<()> {
        let json = at.printer.format() == Format::Json;
        if let Some(target) = self.target.as_ref().filter(|target| !target.is_empty() && !json) {
            print(at, target, mounts)?;
        }
        if self.mounts || json {
            at.printer.ctr_json(&shown(mounts))?;
        }
        Ok(())
    }
}

fn shown(mounts: &[Mount]) -> Vec<Shown<'_>> {
    fn show(mount: &Mount) -> Shown<'_> {
        let Mount { kind, source, target, options } = mount;
        let options = (!options.is_empty()).then_some(options.as_slice());
        Shown { r#type: kind, source, target, options }
    }
    mounts.iter().map(show).collect()
}

/// Prints command lines for mount(8).
fn print(at: &Context, target: &str, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let place = Path::new(target).join(mount.target.trim_start_matches('/'));
        // Without doubled and final slashes.
        let place: PathBuf = place.components().collect();
        let mut line = format!("mount -t {} {} {}", mount.kind, mount.source, place.display());
        if !mount.options.is_empty() {
            line.push_str(&format!(" -o {}", mount.options.join(",")));
        }
        at.printer.line(line)?;
    }
    Ok(())
}
