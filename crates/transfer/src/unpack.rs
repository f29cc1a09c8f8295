//! Making layers into a chain of snapshots while they arrive.
//!
//! Each layer is prepared under a key `extract-<unique> <chain id>` and committed under its chain
//! id. With a snapshotter that can `rebase`, every layer gets an empty tree at once and its bytes
//! are unpacked as they come; the trees are bound to each other as they are committed, lowest
//! first. Without, only the lowest missing layer is unpacked as it comes, and the others follow
//! from the content store while those above still download.
//!
//! A snapshot is committed only after its layer's bytes had the promised digest and its tar the
//! promised diff id. What fails is removed; snapshots committed before stay, for the next try.

use std::sync::{Arc, Mutex, PoisonError};

use stowd_core::diff::{Apply, Placement, Source, Sync};
use stowd_core::mount::Mount;
use stowd_core::snapshots::Commit;
use stowd_core::{Descriptor, Digest, Error, ErrorKind, Labels, Result, labels};
use stowd_images::{chain_ids, links};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};
use tokio::task::JoinHandle;

use crate::arrival::Target;
use crate::job::{Job, Outcome, joined};
use crate::lease::{hold, unique};
use crate::stream::pipe;

/// The most layers that are unpacked; what mounts them gives up long before.
const MAX_LAYERS: usize = 4096;
/// On a snapshot: the diff id of its layer.
const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
/// On a snapshot being prepared: the chain id that it will build on.
const PARENT: &str = "containerd.io/snapshot/parent-chain-id";
/// On a snapshot whose files come from afar when they are needed: nobody needs its layer here.
const REMOTE: &str = "containerd.io/snapshot/remote";

/// One layer on its way into a snapshotter.
#[derive(Clone)]
struct Step {
    target: Arc<Target>,
    layer: Descriptor,
    diff_id: Digest,
    chain: Digest,
    /// The chain id below.
    below: Option<Digest>,
}

/// What unpacking ahead of its turn came to.
enum Ahead {
    /// The layer is in a snapshot that can be committed.
    Applied { key: String, _flight: OwnedMutexGuard<()> },
    /// The chain exists already.
    Exists,
    /// The layer is in the content store and waits for its turn.
    Fetched,
}

impl Step {
    fn flight(&self, job: &Job) -> String {
        format!("chain {} {} {}", job.scope.namespace, self.target.name, self.chain)
    }

    /// Labels for the snapshot: what snapshotters that fetch by themselves need to know.
    fn labels(&self) -> Labels {
        let inherited = format!("{}/", labels::SNAPSHOT_PREFIX);
        let mut made: Labels = self
            .layer
            .annotations
            .iter()
            .filter(|(key, value)| key.starts_with(&inherited) && labels::check(key, value).is_ok())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        made.insert(labels::SNAPSHOT_REF.to_owned(), self.chain.to_string());
        made.insert(DIFF_ID.to_owned(), self.diff_id.to_string());
        if let Some(below) = &self.below {
            made.insert(PARENT.to_owned(), below.to_string());
        }
        made
    }
}

impl Job {
    /// Brings layers in and makes them into a chain of snapshots; the config then keeps the chain.
    pub(crate) async fn unpack(
        self: &Arc<Self>,
        target: &Arc<Target>,
        config: &Descriptor,
        diff_ids: &[Digest],
        layers: &[Descriptor],
    ) -> Result<()> {
        if layers.len() != diff_ids.len() {
            return Err(Error::invalid(format_args!(
                "image config {}: number of layers and diffIDs don't match: {} != {}",
                config.digest,
                layers.len(),
                diff_ids.len()
            )));
        }
        if layers.len() > MAX_LAYERS {
            return Err(Error::invalid(format_args!(
                "image config {}: {} layers are more than {MAX_LAYERS}",
                config.digest,
                layers.len()
            )));
        }
        let chain = chain_ids(diff_ids);
        let steps: Vec<Step> = layers
            .iter()
            .enumerate()
            .map(|(at, layer)| Step {
                target: Arc::clone(target),
                layer: layer.clone(),
                diff_id: diff_ids[at].clone(),
                chain: chain[at].clone(),
                below: at.checked_sub(1).map(|below| chain[below].clone()),
            })
            .collect();
        self.climb(&steps).await?;
        let Some(top) = chain.last() else { return Ok(()) };
        let key = format!("{}{}", labels::GC_REF_SNAPSHOT, target.name);
        let kept = Labels::from([(key, top.to_string())]);
        links::write(&*self.shared.parts.content, &self.scope, &config.digest, &kept).await
    }

    /// Starts all layers, then commits them from the lowest up.
    async fn climb(self: &Arc<Self>, steps: &[Step]) -> Result<()> {
        let mut lowest = steps.len();
        let mut remote = false;
        while let Some(step) = lowest.checked_sub(1).map(|below| &steps[below]) {
            if let Some(found) = self.committed(step).await? {
                remote = found.contains_key(REMOTE);
                break;
            }
            lowest -= 1;
        }
        let mut running = Vec::new();
        let mut in_turn = false;
        for (at, step) in steps.iter().enumerate() {
            let (job, step) = (Arc::clone(self), step.clone());
            if at < lowest {
                if !remote {
                    running.push(tokio::spawn(async move {
                        job.fetched(&step.layer).await.map(|()| Ahead::Exists)
                    }));
                }
                continue;
            }
            // Chains are taken from the lowest up, so that two images never wait for each other;
            // above one that another transfer has, everything waits for its turn.
            let may_start = !in_turn && (step.target.rebases || at == lowest);
            let flight =
                may_start.then(|| self.shared.flights.try_take(&step.flight(self))).flatten();
            in_turn = in_turn || flight.is_none();
            running.push(tokio::spawn(async move {
                let done = match flight {
                    Some(flight) => job.ahead(&step, flight).await,
                    None => job.fetched(&step.layer).await.map(|()| Ahead::Fetched),
                };
                if done.is_err() {
                    job.failed.cancel();
                }
                done
            }));
        }
        let skipped = if remote { lowest } else { 0 };
        let mut outcome = Outcome::default();
        for (step, task) in steps[skipped..].iter().zip(running) {
            let ahead = joined(task.await);
            let done = match ahead {
                Err(error) => Err(error),
                // Steps above a failed one have nothing to stand on.
                Ok(Ahead::Applied { key, .. }) if outcome.is_error() => {
                    self.remove(step, &key).await;
                    continue;
                }
                Ok(_) if outcome.is_error() => continue,
                Ok(Ahead::Exists) => Ok(()),
                Ok(Ahead::Applied { key, _flight }) => self.commit(step, &key).await,
                Ok(Ahead::Fetched) => self.turn(step).await,
            };
            if done.is_err() {
                self.failed.cancel();
            }
            outcome.add(done);
        }
        outcome.result()
    }

    /// Downloads a layer and unpacks it, both at once where that can be.
    async fn ahead(self: &Arc<Self>, step: &Step, flight: OwnedMutexGuard<()>) -> Result<Ahead> {
        let Some((key, mounts)) = self.prepare(step).await? else { return Ok(Ahead::Exists) };
        let applying: Mutex<Option<JoinHandle<Result<()>>>> = Mutex::new(None);
        let feed = || {
            // Whoever finds all streams taken downloads first and waits for one afterwards.
            let permit = Arc::clone(&self.shared.streams).try_acquire_owned().ok()?;
            let (feed, source, broke) = pipe();
            let (job, step, mounts) = (Arc::clone(self), step.clone(), mounts.clone());
            let task = tokio::spawn(async move {
                let source = Source::Stream(Box::new(source));
                let done = job.apply(&step, mounts, source, permit).await;
                done.map_err(|error| {
                    if broke.off() {
                        // The download knows why.
                        return Error::canceled("the layer's download broke off");
                    }
                    job.failed.cancel();
                    error
                })
            });
            *applying.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
            Some(feed)
        };
        let fetched = self.blob(&step.layer, feed).await;
        let applying = applying.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = match (fetched, applying) {
            (Ok(()), Some(task)) => {
                self.tracker.started("extracting", &step.layer);
                joined(task.await)
            }
            // The unpacker writes into the tree until it notices that its stream broke off.
            (Err(error), Some(task)) => match joined(task.await) {
                Err(cause) if error.is(ErrorKind::Canceled) => Err(cause),
                _ => Err(error),
            },
            (Err(error), None) => Err(error),
            (Ok(()), None) => self.apply_stored(step, mounts).await,
        };
        match done {
            Ok(()) => Ok(Ahead::Applied { key, _flight: flight }),
            Err(error) => {
                self.remove(step, &key).await;
                Err(error)
            }
        }
    }

    /// Unpacks a layer whose turn has come from the content store.
    async fn turn(&self, step: &Step) -> Result<()> {
        let flight = step.flight(self);
        let _flight =
            self.unless_failed(async { Ok(self.shared.flights.take(&flight).await) }).await?;
        if self.committed(step).await?.is_some() {
            return Ok(());
        }
        let Some((key, mounts)) = self.prepare(step).await? else { return Ok(()) };
        if let Err(error) = self.apply_stored(step, mounts).await {
            self.remove(step, &key).await;
            return Err(error);
        }
        self.commit(step, &key).await
    }

    /// Makes a snapshot for a layer; none when the snapshotter has the whole chain of itself.
    async fn prepare(&self, step: &Step) -> Result<Option<(String, Vec<Mount>)>> {
        let snapshotter = &step.target.snapshotter;
        let below = step.below.as_ref().filter(|_| !step.target.rebases).map(Digest::as_str);
        for _ in 0..3 {
            let key = format!("extract-{} {}", unique()?, step.chain);
            match snapshotter.prepare(&self.scope, &key, below, step.labels()).await {
                Ok(mounts) => return Ok(Some((key, mounts))),
                Err(error) if error.is_already_exists() => {
                    if self.committed(step).await?.is_some() {
                        return Ok(None);
                    }
                }
                Err(error) => {
                    return Err(error
                        .context(format_args!("failed to prepare extraction snapshot {key:?}")));
                }
            }
        }
        Err(Error::already_exists(format_args!("extraction snapshot of {}", step.chain)))
    }

    async fn apply_stored(&self, step: &Step, mounts: Vec<Mount>) -> Result<()> {
        let unpacks = Arc::clone(&self.shared.unpacks).acquire_owned();
        let permit = unpacks.await.map_err(|_| Error::canceled("unpackers are closed"))?;
        self.tracker.started("extracting", &step.layer);
        self.apply(step, mounts, Source::Stored, permit).await
    }

    async fn apply(
        &self,
        step: &Step,
        mounts: Vec<Mount>,
        source: Source,
        _permit: OwnedSemaphorePermit,
    ) -> Result<()> {
        // The lowest layer has nothing below that its whiteouts could mean.
        let detached = step.target.rebases && step.below.is_some();
        let apply = Apply {
            layer: step.layer.clone(),
            mounts,
            placement: if detached { Placement::Detached } else { Placement::OnParents },
            sync: Sync::Later,
            payloads: std::collections::BTreeMap::new(),
        };
        let Descriptor { media_type, digest, .. } = &step.layer;
        let applied =
            self.shared.parts.applier.apply(&self.scope, apply, source).await.map_err(|error| {
                error.context(format_args!(
                    "failed to extract layer ({media_type} {digest}) to {}",
                    step.target.name
                ))
            })?;
        if applied.digest != step.diff_id {
            return Err(Error::invalid(format_args!(
                "wrong diff id {:?} calculated on extraction, expected {:?}, of layer {digest}",
                applied.digest.as_str(),
                step.diff_id.as_str()
            )));
        }
        Ok(())
    }

    async fn commit(&self, step: &Step, key: &str) -> Result<()> {
        let snapshotter = &step.target.snapshotter;
        let parent = step.below.as_ref().filter(|_| step.target.rebases).map(Digest::to_string);
        let commit = Commit { labels: step.labels(), parent };
        let chain = step.chain.as_str();
        match snapshotter.commit(&self.scope, chain, key, commit).await {
            Ok(()) => {}
            Err(error) => {
                self.remove(step, key).await;
                if !error.is_already_exists() {
                    return Err(error.context(format_args!("failed to commit snapshot {key}")));
                }
            }
        }
        let kept = Labels::from([(labels::UNCOMPRESSED.to_owned(), step.diff_id.to_string())]);
        let content = &*self.shared.parts.content;
        links::write(content, &self.scope, &step.layer.digest, &kept).await?;
        self.tracker.done("extracted", &step.layer);
        Ok(())
    }

    /// Returns the labels of a layer's snapshot, if it is there, and holds it and those below.
    async fn committed(&self, step: &Step) -> Result<Option<Labels>> {
        let Target { name, snapshotter, .. } = &*step.target;
        let chain = step.chain.as_str();
        match snapshotter.stat(&self.scope, chain).await {
            Err(error) if error.is_not_found() => return Ok(None),
            done => done?,
        };
        hold(&self.shared, &self.scope, &format!("snapshots/{name}"), chain).await?;
        match snapshotter.stat(&self.scope, chain).await {
            Err(error) if error.is_not_found() => Ok(None),
            done => done.map(|found| Some(found.labels)),
        }
    }

    async fn remove(&self, step: &Step, key: &str) {
        if let Err(error) = step.target.snapshotter.remove(&self.scope, key).await {
            // The lease's end lets garbage collection find it.
            tracing::warn!(%error, key, "extraction snapshot stays");
        }
    }
}
