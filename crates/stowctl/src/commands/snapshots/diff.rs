//! `snapshots diff`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stowd_core::content::Store as _;
use stowd_core::descriptor::media_type;
use stowd_core::diff::{Compare, Comparer as _};
use stowd_core::labels::GC_ROOT;
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Kind, Snapshotter as _};
use stowd_core::{Descriptor, Error, Labels, Result, Scope};

use super::{Snapshotter, parent};
use crate::commands::content;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{labels, times};

/// Writes the layer that leads from one snapshot to another to standard output.
///
/// Of one snapshot it is what differs from its parent; of two, what leads from the first to the
/// second.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The layer's media type
    #[arg(long, value_name = "TYPE", default_value = media_type::LAYER_GZIP)]
    media_type: String,
    /// A name for what is being written
    #[arg(long = "ref", value_name = "NAME", default_value = "", hide_default_value = true)]
    reference: String,
    /// Keep the layer in the content store; it is yours to delete
    #[arg(long)]
    keep: bool,
    /// Labels for the layer, as KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    /// The snapshot's key or name
    #[arg(value_name = "ID-A")]
    one: String,
    /// The other snapshot's
    #[arg(value_name = "ID-B")]
    other: Option<String>,
}

/// The views that a comparison needs, made under a lease and removed at the end.
struct Views<'a> {
    it: &'a Snapshotter,
    scope: &'a Scope,
    made: Vec<String>,
}

impl Diff {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let mut labels = labels::parse(&self.label)?;
        if self.keep {
            labels.insert(GC_ROOT.to_owned(), times::now());
        }
        let compare = Compare {
            media_type: self.media_type,
            reference: self.reference,
            labels,
            source_date_epoch: source_date_epoch()?,
        };
        let (leased, lease) = it.client.lease().await?;
        let mut views = Views { it, scope: leased.scope(), made: Vec::new() };
        let made = match &self.other {
            Some(other) => views.between(&self.one, other, compare).await,
            None => views.of(&self.one, compare).await,
        };
        views.remove().await;
        let printed = match made {
            Ok(layer) => {
                let blob = leased.connection().content().open(leased.scope(), &layer.digest).await;
                match blob {
                    Ok(blob) => content::print(&at.printer, blob.as_ref()).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        let released = it.client.release(&lease).await;
        Ok(printed.and(released)?)
    }
}

impl Views<'_> {
    async fn of(&mut self, key: &str, compare: Compare) -> Result<Descriptor> {
        let info = self.it.store.stat(self.scope, key).await?;
        let lower = self.view(parent(&info)).await?;
        let upper = self.mounts(key).await?;
        self.compare(&lower, &upper, compare).await
    }

    async fn between(&mut self, one: &str, other: &str, compare: Compare) -> Result<Descriptor> {
        let lower = self.mounts(one).await?;
        let upper = self.mounts(other).await?;
        self.compare(&lower, &upper, compare).await
    }

    async fn compare(&self, lower: &[Mount], upper: &[Mount], how: Compare) -> Result<Descriptor> {
        self.it.client.connection().diff().compare(self.scope, lower, upper, how).await
    }

    /// What is active or a view shows itself, what is committed needs a view.
    async fn mounts(&mut self, key: &str) -> Result<Vec<Mount>> {
        match self.it.store.stat(self.scope, key).await?.kind {
            Kind::Active | Kind::View => self.it.store.mounts(self.scope, key).await,
            Kind::Committed => self.view(Some(key)).await,
        }
    }

    async fn view(&mut self, of: Option<&str>) -> Result<Vec<Mount>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let key = format!("diff-{}-{now}-{}", std::process::id(), self.made.len());
        let mounts = self.it.store.view(self.scope, &key, of, Labels::new()).await?;
        self.made.push(key);
        Ok(mounts)
    }

    async fn remove(self) {
        for key in self.made {
            // Without its lease the next collection takes it all the same.
            let _ = self.it.store.remove(self.scope, &key).await;
        }
    }
}

/// The latest time that entries may bear, for layers that come out the same each time.
fn source_date_epoch() -> Result<Option<SystemTime>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds));
    time.map(Some).ok_or_else(|| {
        Error::invalid(format_args!("SOURCE_DATE_EPOCH={} is no time", text.display()))
    })
}
