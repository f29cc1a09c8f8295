//! `images tag`.

use stowd_core::{Digest, Error, Reference, Result};

use crate::context::Context;
use crate::failure::Outcome;

/// Arguments of `images tag`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Has no effect: a name that is taken is always taken over
    #[arg(long)]
    force: bool,
    /// Has no effect: the daemon has one way to tag
    #[arg(long)]
    local: bool,
    /// Take any text as a name, reference or not
    #[arg(long)]
    skip_reference_check: bool,
    /// The image's name
    #[arg(value_name = "REF")]
    source: String,
    /// The names to give it
    #[arg(required = true, value_name = "NEW-REF")]
    targets: Vec<String>,
}

impl Tag {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        for target in self.targets {
            if !self.skip_reference_check {
                check(&target)?;
            }
            if let Err(error) = client.tag(&self.source, &target).await {
                return Err(super::absent(&client, &self.source, error).await.into());
            }
            at.printer.line(target)?;
        }
        Ok(())
    }
}

/// Names may be short, and may be digests.
fn check(target: &str) -> Result<()> {
    let is_digest = |text: &str| text.parse::<Digest>().is_ok();
    if is_digest(target) || is_digest(&format!("sha256:{target}")) {
        return Ok(());
    }
    match Reference::normalize(target) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::invalid(format_args!(
            "error parsing reference: {target:?} is not a valid repository/tag {}",
            error.message()
        ))
        .hint("--skip-reference-check takes any name")),
    }
}
