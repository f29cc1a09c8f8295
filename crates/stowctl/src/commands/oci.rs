//! `oci`.

use clap::Subcommand;
use stowd_client::spec::Spec;
use stowd_core::Platform;

use crate::context::Context;
use crate::failure::Outcome;

#[derive(Debug, Subcommand)]
pub(crate) enum Oci {
    /// See the output of the default OCI spec
    Spec {
        /// Platform of the spec, such as linux/arm64
        #[arg(long, value_parser = Platform::parse)]
        platform: Option<Platform>,
    },
}

impl Oci {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let Self::Spec { platform } = self;
        let platform = platform.unwrap_or_else(Platform::host);
        let spec = Spec::default_for(&platform, at.namespace(), "");
        Ok(at.printer.line(spec.to_pretty_json())?)
    }
}
