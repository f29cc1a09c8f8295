//! `images usage`.

use serde::Serialize;
use stowd_core::Error;
use stowd_core::error::ResultExt as _;
use stowd_core::snapshots::Snapshotter as _;

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;
use crate::units;

/// Arguments of `images usage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// The snapshotter to look into; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// The image's name
    #[arg(value_name = "REF")]
    name: String,
}

#[derive(Serialize)]
struct Line {
    key: String,
    size: u64,
    inodes: u64,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["KEY", "SIZE", "INODES"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), units::bytes(self.size), self.inodes.to_string()]
    }
}

impl Usage {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let name = &self.name;
        let image = match client.image(name).await {
            Ok(image) => image,
            Err(error) => {
                let error = super::absent(&client, name, error).await;
                let act = format_args!("failed to ensure if image {name} exists");
                return Err(error.context(act).into());
            }
        };
        let snapshotter = match self.snapshotter.as_str() {
            "" => client.defaults().await?.snapshotter,
            given => given.to_owned(),
        };
        let unpacked = image.is_unpacked(&snapshotter).await.context(|| {
            format!(
                "failed to ensure if image {name} has been unpacked in snapshotter {snapshotter}"
            )
        })?;
        if !unpacked {
            return Err(Error::unknown(format_args!(
                "image {name} isn't unpacked in snapshotter {snapshotter}"
            ))
            .into());
        }
        let snapshots = client.connection().snapshotter(&snapshotter);
        let mut next = Some(image.chain_id().await?.to_string());
        let mut lines = Vec::new();
        while let Some(key) = next {
            let usage = snapshots
                .usage(client.scope(), &key)
                .await
                .context(|| format!("failed to get usage for snapshot {key}"))?;
            let info = snapshots
                .stat(client.scope(), &key)
                .await
                .context(|| format!("failed to ensure if snapshot {key} has parent or not"))?;
            next = info.parent.filter(|parent| !parent.is_empty());
            lines.push(Line { key, size: usage.size, inodes: usage.inodes });
        }
        Ok(at.printer.rows(Layout::NARROW, &lines)?)
    }
}
