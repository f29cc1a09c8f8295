//! `content prune references`.

use clap::Subcommand;
use futures_util::TryStreamExt as _;
use stowd_core::content::{Info, Store as _};
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::labels::GC_REF_CONTENT;
use stowd_core::leases::Store as _;

use crate::context::Context;
use crate::failure::Outcome;

/// What keeps content.
#[derive(Debug, Subcommand)]
pub(crate) enum Prune {
    /// Remove the labels by which manifests keep their layers
    References(References),
}

/// Removes the labels by which manifests keep their layers, so that layers that are unpacked can be
/// collected. The images can then no longer be pushed or exported.
#[derive(Debug, clap::Args)]
pub(crate) struct References {
    /// Return before what is free now is gone
    #[arg(long = "async")]
    later: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry: bool,
}

impl Prune {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let Self::References(command) = self;
        command.run(at).await
    }
}

impl References {
    async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let (content, scope) = (client.connection().content(), client.scope());
        let mut pieces = content.list(scope, Filters::default()).await?;
        let mut found: Vec<Info> = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            found.extend(piece);
        }
        for mut info in found {
            let keys: Vec<String> =
                info.labels.keys().filter(|key| is_of_layer(key)).cloned().collect();
            for key in &keys {
                let line = format!("Removing label digest={} label={key}", info.digest);
                if self.dry { at.printer.note(line) } else { at.printer.debug(line) }
            }
            if self.dry || keys.is_empty() {
                continue;
            }
            info.labels.retain(|key, _| !keys.contains(key));
            let paths: Vec<String> = keys.iter().map(|key| format!("labels.{key}")).collect();
            content.update(scope, info, &paths).await?;
        }
        if self.dry {
            return Ok(());
        }
        // What frees content is the next collection; a lease given back brings it on.
        let (_, lease) = client.lease().await?;
        let collect = if self.later { Collect::Later } else { Collect::BeforeReturn };
        client.connection().leases().delete(scope, &lease, collect).await?;
        Ok(())
    }
}

/// Layers are `….l.<number>`; long ago they were numbers alone, behind the config's 0.
fn is_of_layer(key: &str) -> bool {
    let Some(rest) = key.strip_prefix(GC_REF_CONTENT).and_then(|rest| rest.strip_prefix('.'))
    else {
        return false;
    };
    let is_number = rest.bytes().all(|byte| byte.is_ascii_digit());
    rest.starts_with("l.") || (is_number && rest != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_from_configs() {
        assert!(is_of_layer("containerd.io/gc.ref.content.l.0"));
        assert!(is_of_layer("containerd.io/gc.ref.content.3"));
        assert!(!is_of_layer("containerd.io/gc.ref.content.0"));
        assert!(!is_of_layer("containerd.io/gc.ref.content.config"));
        assert!(!is_of_layer("containerd.io/gc.ref.content"));
    }
}
