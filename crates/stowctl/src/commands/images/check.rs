//! `images check`.

use serde::Serialize;
use stowd_client::Image;
use stowd_core::error::ResultExt as _;
use stowd_core::filters::Filters;
use stowd_core::{Descriptor, Error};

use crate::context::Context;
use crate::failure::{Outcome, Worst};
use crate::printer::Row;
use crate::table::Layout;
use crate::units;

/// Arguments of `images check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Print only the names of images that are complete and unpacked
    #[arg(short, long)]
    quiet: bool,
    /// The snapshotter to look into; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// Only images that pass one of these, such as name==NAME
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    name: String,
    media_type: String,
    digest: String,
    status: String,
    size: String,
    unpacked: bool,
    #[serde(skip)]
    complete: bool,
}

impl Row for Line {
    // ctr ends the head's last cell and not the lines'.
    const COLUMNS: &'static [&'static str] =
        &["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED "];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.media_type.clone(),
            self.digest.clone(),
            self.status.clone(),
            self.size.clone(),
            self.unpacked.to_string(),
        ]
    }
}

impl Check {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let filters = Filters::parse(&self.filters)?;
        let client = at.client().await?;
        let images = client.images(&filters).await.context(|| "failed listing images")?;
        let mut worst = Worst::default();
        let mut lines = Vec::with_capacity(images.len());
        for image in &images {
            let (line, errors) = check(image, &self.snapshotter).await;
            for error in errors {
                worst.add(&at.printer, error);
            }
            lines.push(line);
        }
        if self.quiet {
            for line in lines.iter().filter(|line| line.complete && line.unpacked) {
                at.printer.line(&line.name)?;
            }
        } else if !lines.is_empty() || at.printer.format() == crate::printer::Format::Json {
            at.printer.rows(Layout::NARROW.ragged(), &lines)?;
        }
        worst.into()
    }
}

async fn check(image: &Image, snapshotter: &str) -> (Line, Vec<Error>) {
    let mut errors = Vec::new();
    let name = image.name();
    let (status, size, complete) = match image.check().await {
        Ok(found) => {
            let (present, required) = (bytes(&found.present), bytes(&found.required));
            if found.available {
                let word = if found.missing.is_empty() { "complete" } else { "incomplete" };
                let counts = format!("({}/{})", found.present.len(), found.required.len());
                let complete = found.missing.is_empty();
                (format!("{word} {counts}"), format!("{present}/{required}"), complete)
            } else {
                let status = format!("unavailable ({}/?)", found.present.len());
                (status, format!("{present}/?"), false)
            }
        }
        Err(error) => {
            errors.push(error.context(format_args!("unable to check {name}")));
            ("error".to_owned(), "-".to_owned(), false)
        }
    };
    let unpacked = image.is_unpacked(snapshotter).await.unwrap_or_else(|error| {
        errors.push(error.context(format_args!("unable to check unpack for {name}")));
        false
    });
    let target = &image.record().target;
    let line = Line {
        name: name.to_owned(),
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        status,
        size,
        unpacked,
        complete,
    };
    (line, errors)
}

fn bytes(of: &[Descriptor]) -> String {
    units::bytes(of.iter().map(|descriptor| descriptor.size).sum())
}
