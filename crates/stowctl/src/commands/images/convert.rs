//! `images convert`.

use stowd_client::Convert as What;
use stowd_core::Error;

use super::pull::parse_platforms;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;

/// Makes another image of one, and prints its digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    /// Store layers as plain tars
    #[arg(long)]
    uncompress: bool,
    /// Turn Docker's media types into OCI's
    #[arg(long)]
    oci: bool,
    /// Keep these platforms, such as linux/arm64, instead of this machine's
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Keep all platforms
    #[arg(long)]
    all_platforms: bool,
    /// The image
    #[arg(value_name = "SOURCE", default_value = "", hide_default_value = true)]
    source: String,
    /// The name of the new image
    #[arg(value_name = "TARGET", default_value = "", hide_default_value = true)]
    target: String,
}

impl Convert {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        if self.source.is_empty() || self.target.is_empty() {
            return Err(Error::unknown("src and target image need to be specified").into());
        }
        let what = What {
            uncompress: self.uncompress,
            oci: self.oci,
            platforms: parse_platforms(&self.platform)?,
            all_platforms: self.all_platforms,
        };
        let client = at.client().await?;
        let converted = match client.convert(&self.source, &self.target, &what).await {
            Ok(converted) => converted,
            Err(error) => return Err(super::absent(&client, &self.source, error).await.into()),
        };
        let target = &converted.record().target;
        match at.printer.format() {
            Format::Json => at.printer.json(target)?,
            Format::Text => at.printer.line(&target.digest)?,
        }
        Ok(())
    }
}
