//! `snapshots unpack`.

use serde::Serialize;
use stowd_core::filters::Filters;
use stowd_core::{Digest, Error};

use super::Snapshotter;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;

/// Unpacks the image that has this manifest or index.
#[derive(Debug, clap::Args)]
pub(crate) struct Unpack {
    /// Has no effect: what is unpacked is always made durable
    #[arg(long)]
    sync_fs: bool,
    /// The digest that an image stands for, as `images ls` shows it
    digest: String,
}

#[derive(Serialize)]
struct Unpacked<'a> {
    image: &'a str,
    digest: &'a Digest,
}

impl Unpack {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let digest: Digest = self.digest.parse()?;
        let images = it.client.images(&Filters::default()).await?;
        let image = images.iter().find(|image| image.record().target.digest == digest);
        let image = image.ok_or_else(|| {
            Error::unknown("manifest not found")
                .hint("name the digest of an image, as `images ls` shows it")
        })?;
        let text = at.printer.format() == Format::Text;
        if text {
            let kind = &image.record().target.media_type;
            at.printer.bytes(format!("unpacking {digest} ({kind})...").as_bytes())?;
        }
        let done = image.unpack(it.store.name()).await;
        match (text, &done) {
            (true, Ok(())) => at.printer.line("done")?,
            (true, Err(_)) => at.printer.line("")?,
            (false, Ok(())) => {
                at.printer.json(&Unpacked { image: image.name(), digest: &digest })?;
            }
            (false, Err(_)) => {}
        }
        Ok(done?)
    }
}
