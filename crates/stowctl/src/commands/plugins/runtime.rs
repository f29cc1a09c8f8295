//! `plugins inspect-runtime`.

use serde::Serialize;
use serde_json::Value;
use stowd_core::Labels;

use crate::commands::run::RuntimeFlags;
use crate::context::Context;
use crate::failure::Outcome;

/// Asks a runtime what it is and can do.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectRuntime {
    #[command(flatten)]
    runtime: RuntimeFlags,
}

/// As ctr prints it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    name: String,
    version: Version,
    options: Option<Value>,
    features: Option<Value>,
    annotations: Option<Labels>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    revision: String,
}

impl InspectRuntime {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let runtime = self.runtime.with_ctr_default();
        runtime.check()?;
        let (name, options) = runtime.pack();
        let info = at.client().await?.runtime_info(&name, options).await?;
        Ok(at.printer.ctr_json(&Info {
            name: info.name,
            version: Version { version: info.version, revision: info.revision },
            options: info.options,
            features: info.features,
            annotations: Some(info.annotations).filter(|annotations| !annotations.is_empty()),
        })?)
    }
}
