//! Bringing in an image's documents, and then all that they lead to.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use stowd_core::descriptor::media_type;
use stowd_core::platform::Matcher;
use stowd_core::snapshots::Snapshotter;
use stowd_core::transfer::Unpack;
use stowd_core::{Descriptor, Error, Platform, Result};
use stowd_images::document::{Document, kind};
use stowd_images::graph::{MAX_BLOBS, MAX_DEPTH};
use stowd_images::{Choice, Config, Taken};
use tokio::task::JoinSet;

use crate::job::{Job, Missing, Origin, Outcome, Shared, joined};

/// How many documents are brought at once.
const DOCUMENTS: usize = 8;

/// Where and for which platform to unpack.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) snapshotter: Arc<dyn Snapshotter>,
    /// Layers can be unpacked on no parent.
    pub(crate) rebases: bool,
    matcher: Matcher,
}

/// How much of an image is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// All but the layers.
    Outline,
}

/// A manifest and what was chosen of what it leads to.
#[derive(Default)]
struct Arrived {
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    others: Vec<Descriptor>,
}

impl Target {
    /// Finds the snapshotters that are asked for.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none of that name.
    pub(crate) fn find(shared: &Shared, unpack: &[Unpack]) -> Result<Vec<Arc<Self>>> {
        let find = |wanted: &Unpack| {
            let name = match wanted.snapshotter.as_str() {
                "" => shared.config.default_snapshotter.as_str(),
                name => name,
            };
            let platform = wanted.platform.clone().unwrap_or_else(Platform::host);
            let snapshotters = &shared.parts.snapshotters;
            Ok(Arc::new(Self {
                name: name.to_owned(),
                snapshotter: snapshotters.snapshotter(name)?,
                rebases: snapshotters.capabilities(name).contains(&"rebase"),
                matcher: Matcher::only(&platform),
            }))
        };
        unpack.iter().map(find).collect()
    }
}

impl Job {
    /// Brings in all that a choice takes of an image, and unpacks it where it fits.
    pub(crate) async fn arrive(
        self: &Arc<Self>,
        root: &Descriptor,
        choice: &Choice,
        targets: &[Arc<Target>],
    ) -> Result<()> {
        // Whoever drops this ends what was started.
        let guard = self.failed.clone().drop_guard();
        let manifests = self.documents(root, choice).await?;
        let mut running = JoinSet::new();
        for manifest in manifests {
            let (job, targets) = (Arc::clone(self), targets.to_vec());
            running.spawn(async move {
                let done = job.complete(manifest, &targets).await;
                if done.is_err() {
                    job.failed.cancel();
                }
                done
            });
        }
        let mut outcome = Outcome::default();
        while let Some(done) = running.join_next().await {
            outcome.add(joined(done));
        }
        guard.disarm();
        outcome.result()
    }

    /// Brings in indexes and manifests, level by level.
    async fn documents(&self, root: &Descriptor, choice: &Choice) -> Result<Vec<Arrived>> {
        self.tracker.add(root, None);
        if !Document::is_one(&root.media_type) {
            return Ok(vec![Arrived::of([root.clone()])]);
        }
        let mut arrived = Vec::new();
        let mut seen = HashSet::from([root.digest.clone()]);
        let mut level = vec![(root.clone(), Part::Whole)];
        let mut missing = None;
        for _ in 0..=MAX_DEPTH {
            let brought: Vec<_> = stream::iter(std::mem::take(&mut level))
                .map(|(document, part)| async move {
                    let data = self.document(&document).await;
                    (document, part, data)
                })
                .buffered(DOCUMENTS)
                .collect()
                .await;
            for (document, part, data) in brought {
                let data = match data {
                    Err(error) if error.is_not_found() && self.may_lack(&document, root) => {
                        missing = Some(error);
                        continue;
                    }
                    data => data.map_err(|error| self.named(&document, error))?,
                };
                let children = Document::parse(&document, &data)?.into_children();
                let taken = taken(&document, part, children, choice)?;
                for (child, _) in &taken {
                    self.tracker.add(child, Some(&document));
                }
                if media_type::is_manifest(&document.media_type) {
                    arrived.push(Arrived::of(taken.into_iter().map(|(child, _)| child)));
                    continue;
                }
                let new = taken.into_iter().filter(|(it, _)| seen.insert(it.digest.clone()));
                let (documents, others): (Vec<_>, Vec<_>) =
                    new.partition(|(it, _)| Document::is_one(&it.media_type));
                level.extend(documents);
                if !others.is_empty() {
                    let others = others.into_iter().map(|(other, _)| other).collect();
                    arrived.push(Arrived { others, ..Arrived::default() });
                }
                if seen.len() > MAX_BLOBS {
                    return Err(Error::invalid(format_args!(
                        "image has more than {MAX_BLOBS} blobs"
                    )));
                }
            }
            if level.is_empty() {
                return match missing {
                    Some(error) if arrived.is_empty() => Err(error),
                    _ => Ok(arrived),
                };
            }
        }
        Err(Error::invalid(format_args!("{} is nested more than {MAX_DEPTH} deep", root.digest)))
    }

    fn may_lack(&self, document: &Descriptor, root: &Descriptor) -> bool {
        self.passes_missing() && document.digest != root.digest
    }

    /// Says in an error which platform's content it was.
    fn named(&self, document: &Descriptor, error: Error) -> Error {
        match (&document.platform, &self.origin) {
            (Some(platform), Origin::Store(Missing::Fails)) => {
                error.context(format_args!("{} of platform {platform}", kind(&document.media_type)))
            }
            _ => error,
        }
    }

    /// Brings in what a manifest leads to.
    async fn complete(self: &Arc<Self>, manifest: Arrived, targets: &[Arc<Target>]) -> Result<()> {
        let Arrived { config, layers, others } = manifest;
        let others: Vec<_> = others
            .into_iter()
            .map(|blob| {
                let job = Arc::clone(self);
                tokio::spawn(async move { job.fetched(&blob).await })
            })
            .collect();
        let mut outcome = Outcome::default();
        outcome.add(self.root(config, layers, targets).await);
        if outcome.is_error() {
            self.failed.cancel();
        }
        for other in others {
            outcome.add(joined(other.await));
        }
        outcome.result()
    }

    /// Brings in config and layers, unpacking them where they fit.
    async fn root(
        self: &Arc<Self>,
        config: Option<Descriptor>,
        layers: Vec<Descriptor>,
        targets: &[Arc<Target>],
    ) -> Result<()> {
        let mut fitting = Vec::new();
        let mut parsed = Config::default();
        if let Some(config) = &config {
            match self.document(config).await {
                Ok(data) => {
                    parsed = Config::parse(config, &data)?;
                    let platform = parsed.platform();
                    fitting = targets.iter().filter(|it| it.matcher.matches(&platform)).collect();
                }
                Err(error) if error.is_not_found() && self.passes_missing() => {}
                Err(error) => return Err(error),
            }
        }
        // Two entries may name the same snapshotter for platforms that run each other's programs.
        fitting.dedup_by(|a, b| a.name == b.name);
        let unpackable = !layers.is_empty() && parsed.has_layers();
        let (Some(config), true, false) = (config, unpackable, fitting.is_empty()) else {
            return self.fetch_all(layers).await;
        };
        for target in fitting {
            self.unpack(target, &config, parsed.diff_ids(), &layers).await?;
        }
        Ok(())
    }

    async fn fetch_all(self: &Arc<Self>, blobs: Vec<Descriptor>) -> Result<()> {
        let mut running = JoinSet::new();
        for blob in blobs {
            let job = Arc::clone(self);
            running.spawn(async move { job.fetched(&blob).await });
        }
        let mut outcome = Outcome::default();
        while let Some(done) = running.join_next().await {
            outcome.add(joined(done));
        }
        outcome.result()
    }

    /// Brings a blob that nobody waits for; when that fails, the whole transfer does.
    pub(crate) async fn fetched(&self, blob: &Descriptor) -> Result<()> {
        let done = self.blob(blob, || None).await;
        if done.is_err() {
            self.failed.cancel();
        }
        done
    }
}

impl Arrived {
    /// Sorts what a manifest leads to.
    fn of(children: impl IntoIterator<Item = Descriptor>) -> Self {
        let mut made = Self::default();
        for (place, child) in children.into_iter().enumerate() {
            if place == 0 && media_type::is_config(&child.media_type) {
                made.config = Some(child);
            } else if media_type::is_layer(&child.media_type) {
                made.layers.push(child);
            } else {
                made.others.push(child);
            }
        }
        made
    }
}

/// Returns what is taken of what a document leads to.
fn taken(
    document: &Descriptor,
    part: Part,
    children: Vec<Descriptor>,
    choice: &Choice,
) -> Result<Vec<(Descriptor, Part)>> {
    if part == Part::Outline {
        let kept = children.into_iter().filter(|it| !media_type::is_layer(&it.media_type));
        return Ok(kept.map(|it| (it, part)).collect());
    }
    if !media_type::is_index(&document.media_type) {
        return Ok(children.into_iter().map(|it| (it, part)).collect());
    }
    let Taken { whole, outlines } = choice.take(&document.digest, children)?;
    let whole = whole.into_iter().map(|it| (it, Part::Whole));
    Ok(whole.chain(outlines.into_iter().map(|it| (it, Part::Outline))).collect())
}
