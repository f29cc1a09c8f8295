//! Garbage collection: when it runs, and what a run does.
//!
//! A run marks in a view of the database while writers go on; a barrier notes what they touch. The
//! sweep is one call in the writers' queue: it marks on from what was touched, removes the rest in
//! one commit, and leaves the files to the remover.
//!
//! When: after the start; when references were taken away, or enough was written; when something
//! expires; when a caller asks. Two runs that nobody asked for are so far apart that collections
//! take no more than the configured share of the time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use stowd_core::events::Event;
use stowd_core::{Digest, Error, Labels, Result, labels};
use tokio::sync::{mpsc, oneshot};

use crate::activations;
use crate::content;
use crate::database::Read as _;
use crate::inner::Inner;
use crate::key::{Key, kind};
use crate::leases;
use crate::mark::{Marks, namespace_of};
use crate::queue::Observer;
use crate::reconcile;
use crate::record::{ActivationRecord, IngestRecord, SnapshotRecord};
use crate::remover::Remover;
use crate::snapshots;
use crate::transaction::{Effects, Freed, Transaction};
use crate::{Collected, CollectorConfig};

/// The longest time between two runs that nobody asked for.
const LONGEST: Duration = Duration::from_secs(60);

/// What a run counts for at least, as in containerd: clients make things and name them in two calls,
/// and a collector that is too eager comes in between more often.
const SHORTEST_RUN: Duration = Duration::from_millis(5);

/// Talks to the collector.
#[derive(Clone)]
pub(crate) struct Handle(mpsc::UnboundedSender<Signal>);

/// The other end, for [`run`].
pub(crate) type Signals = mpsc::UnboundedReceiver<Signal>;

pub(crate) enum Signal {
    Committed { deleted: bool, expires: Option<SystemTime> },
    Collect(oneshot::Sender<Result<Collected>>),
    Configure(CollectorConfig),
    Stop(oneshot::Sender<()>),
}

/// Passes on what commits did.
pub(crate) struct Watcher {
    pub(crate) collector: Handle,
    pub(crate) remover: Remover,
}

impl Observer for Watcher {
    fn committed(&self, effects: Effects) {
        let Effects { mutated, deleted, expires, freed, .. } = effects;
        self.remover.remove(freed);
        if mutated || deleted || expires.is_some() {
            let _ = self.collector.0.send(Signal::Committed { deleted, expires });
        }
    }
}

impl Handle {
    pub(crate) fn new() -> (Self, Signals) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Runs a collection that begins after this call, and waits for its end.
    pub(crate) async fn collect(&self) -> Result<Collected> {
        let closed = || Error::unavailable("the metadata database is closed");
        let (reply, answer) = oneshot::channel();
        self.0.send(Signal::Collect(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Changes when collections run.
    pub(crate) fn configure(&self, config: CollectorConfig) {
        let _ = self.0.send(Signal::Configure(config));
    }

    /// Ends the collector.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Signal::Stop(reply)).is_ok() {
            let _ = answer.await;
        }
    }
}

/// When the next run is due.
struct Schedule {
    config: CollectorConfig,
    mutations: u32,
    deletions: u32,
    /// Not before this, lest collections take too much of the time.
    earliest: Instant,
    due: Option<Instant>,
    expires: Option<SystemTime>,
}

impl Schedule {
    fn committed(&mut self, deleted: bool, expires: Option<SystemTime>) {
        self.mutations = self.mutations.saturating_add(1);
        self.deletions = self.deletions.saturating_add(deleted.into());
        if let Some(at) = expires {
            self.expires = Some(self.expires.map_or(at, |before| before.min(at)));
        }
        let CollectorConfig { deletion_threshold, mutation_threshold, schedule_delay, .. } =
            self.config;
        let delayed = Instant::now() + schedule_delay;
        if deletion_threshold > 0 && self.deletions >= deletion_threshold {
            self.set(delayed);
        } else if self.deletions > 0
            || (mutation_threshold > 0 && self.mutations >= mutation_threshold)
        {
            self.set(delayed.max(self.earliest));
        }
    }

    fn set(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Notes a run; so much time must pass before the next.
    fn ran(&mut self, elapsed: Duration) {
        self.mutations = 0;
        self.deletions = 0;
        self.due = None;
        let threshold = self.config.pause_threshold.clamp(0.001, 0.5);
        let pause = elapsed.max(SHORTEST_RUN).div_f64(threshold).min(LONGEST);
        self.earliest = Instant::now() + pause;
    }

    /// Returns when the next run is due.
    async fn due(&self) {
        let due = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        let expires = self.expires.map(|at| {
            let pause = self.earliest.saturating_duration_since(Instant::now());
            at.duration_since(SystemTime::now()).unwrap_or_default().max(pause)
        });
        match [due, expires].into_iter().flatten().min() {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    }
}

/// Collects when it is time, until it is told to stop or the stores are gone.
///
/// The first run also looks for files in `root`'s stores that no record knows. That takes a look at
/// every file, which no caller should wait for at the start.
pub(crate) async fn run(
    inner: Weak<Inner>,
    config: CollectorConfig,
    root: PathBuf,
    mut signals: Signals,
) {
    let mut unseen = Some(root);
    // What came in during a run.
    let mut early = VecDeque::new();
    let start = Instant::now() + config.startup_delay;
    let mut schedule = Schedule {
        config,
        mutations: 0,
        deletions: 0,
        earliest: start,
        due: Some(start),
        expires: None,
    };
    loop {
        let mut signal = early.pop_front();
        if signal.is_none() {
            tokio::select! {
                next = signals.recv() => match next {
                    Some(next) => signal = Some(next),
                    None => return,
                },
                () = schedule.due() => {}
            }
        }
        let mut asking = Vec::new();
        match signal {
            Some(Signal::Committed { deleted, expires }) => {
                schedule.committed(deleted, expires);
                continue;
            }
            Some(Signal::Configure(config)) => {
                schedule.config = config;
                continue;
            }
            Some(Signal::Collect(reply)) => asking.push(reply),
            Some(Signal::Stop(reply)) => {
                let _ = reply.send(());
                return;
            }
            None => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        // Whoever asked before the run began is served by it.
        while let Some(signal) = early.pop_front().or_else(|| signals.try_recv().ok()) {
            match signal {
                Signal::Committed { expires, .. } => schedule.committed(false, expires),
                Signal::Configure(config) => schedule.config = config,
                Signal::Collect(reply) => asking.push(reply),
                Signal::Stop(reply) => {
                    let _ = reply.send(());
                    return;
                }
            }
        }
        let collecting = async {
            if let Some(root) = unseen.take()
                && let Err(error) = reconcile::run(&inner, &root).await
            {
                tracing::error!(%error, "looking for files that no record knows failed");
                unseen = Some(root);
            }
            collect(&inner).await
        };
        tokio::pin!(collecting);
        let result = loop {
            tokio::select! {
                result = &mut collecting => break result,
                signal = signals.recv() => match signal {
                    // Nobody waits for files to be removed: the next start finds them.
                    Some(Signal::Stop(reply)) => {
                        let _ = reply.send(());
                        return;
                    }
                    Some(signal) => early.push_back(signal),
                    None => return,
                },
            }
        };
        let elapsed = match &result {
            Ok((collected, next)) => {
                if collected.objects > 0 {
                    tracing::debug!(
                        objects = collected.objects,
                        files = collected.files,
                        elapsed = ?collected.elapsed,
                        "collected garbage"
                    );
                }
                schedule.expires = *next;
                collected.elapsed
            }
            Err(error) => {
                tracing::error!(%error, "garbage collection failed");
                LONGEST
            }
        };
        schedule.ran(elapsed);
        for reply in asking {
            let answer = match &result {
                Ok((collected, _)) => Ok(*collected),
                Err(error) => Err(Error::new(error.kind(), error.message())),
            };
            let _ = reply.send(answer);
        }
    }
}

/// Runs one collection; returns also when something next expires.
async fn collect(inner: &Arc<Inner>) -> Result<(Collected, Option<SystemTime>)> {
    let start = Instant::now();
    inner
        .queue
        .write(|tx| {
            tx.barrier().up = true;
            tx.barrier().touched.clear();
            tx.collecting();
            Ok(())
        })
        .await?;
    let now = SystemTime::now();
    let marking = {
        let inner = inner.clone();
        tokio::task::spawn_blocking(move || inner.database.view(|view| Marks::all(view, now)))
    };
    let marked = match marking.await {
        Ok(marked) => marked,
        Err(error) => Err(Error::internal(format_args!("marking failed: {error}"))),
    };
    // The barrier comes down whatever happened.
    let swept = inner
        .queue
        .write(move |tx| {
            tx.barrier().up = false;
            let touched = std::mem::take(&mut tx.barrier().touched);
            let (mut marks, unwanted) = marked?;
            marks.again(tx, touched, now)?;
            let objects = sweep(tx, &marks, unwanted)?;
            tx.collecting();
            Ok(objects)
        })
        .await?;
    let elapsed = start.elapsed();
    // What could not be unmounted before may be now.
    let strays = Freed { activations: activations::strays(inner).await?, ..Freed::default() };
    inner.remover.remove(strays);
    let files = inner.remover.settle().await?;
    let next = {
        let inner = inner.clone();
        tokio::task::spawn_blocking(move || next_expiry(&inner, now)).await
    };
    let next = next.unwrap_or(Ok(None))?;
    Ok((Collected { objects: swept, files, elapsed }, next))
}

/// Removes the records of what is still unwanted.
fn sweep(tx: &mut Transaction<'_>, marks: &Marks, unwanted: Vec<Key>) -> Result<u64> {
    let mut objects = 0;
    for key in unwanted {
        if marks.is_wanted(&key) || !tx.has(&key)? {
            continue;
        }
        let Some(namespace) = namespace_of(&key) else { continue };
        match key.kind() {
            kind::LEASE => {
                let Some([_, id]) = key.parts() else { continue };
                leases::remove(tx, &namespace, &id)?;
            }
            kind::IMAGE => {
                let Some([_, name]) = key.parts() else { continue };
                tx.delete(&key)?;
                tx.publish(&namespace, Event::ImageDelete { name });
            }
            kind::INGEST => {
                let Some([_, reference]) = key.parts() else { continue };
                let scope = stowd_core::Scope::new(namespace);
                if let Some(IngestRecord { key, shared: None, .. }) =
                    content::end_ingest(tx, &scope, &reference)?
                {
                    tx.freed().ingests.push(key);
                }
            }
            kind::BLOB => {
                let Some([_, digest]) = key.parts() else { continue };
                let Ok(digest) = digest.parse::<Digest>() else { continue };
                // Of what it collects, containerd tells only of images and snapshots.
                content::forget(tx, &namespace, &digest)?;
            }
            kind::SNAPSHOT => {
                let Some([_, snapshotter, name]) = key.parts() else { continue };
                let Some(record) = tx.get::<SnapshotRecord>(&key)? else { continue };
                snapshots::forget(tx, &namespace, &snapshotter, &name, &record)?;
                tx.publish(&namespace, Event::SnapshotRemove { key: name, snapshotter });
            }
            kind::ACTIVATION => {
                let Some([_, name]) = key.parts() else { continue };
                let Some(record) = tx.get::<ActivationRecord>(&key)? else { continue };
                activations::forget(tx, &namespace, &name, &record)?;
            }
            _ => continue,
        }
        objects += 1;
    }
    Ok(objects)
}

/// Finds when something expires that is there now.
fn next_expiry(inner: &Inner, after: SystemTime) -> Result<Option<SystemTime>> {
    use crate::database::decode;
    use crate::record::{ImageRecord, LeaseRecord, time};
    let mut next: Option<SystemTime> = None;
    inner.database.view(|view| {
        for kind in [kind::LEASE, kind::IMAGE, kind::INGEST] {
            view.walk(&Key::new::<0>(kind, []), None, |key, value| {
                let at = match kind {
                    kind::LEASE => expiry(&decode::<LeaseRecord>(key, value)?.labels),
                    kind::IMAGE => expiry(&decode::<ImageRecord>(key, value)?.labels),
                    _ => decode::<IngestRecord>(key, value)?.expires.map(time),
                };
                if let Some(at) = at.filter(|at| *at > after) {
                    next = Some(next.map_or(at, |before| before.min(at)));
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
        }
        Ok(())
    })?;
    Ok(next)
}

/// Reads the time of expiry from labels (RFC 3339). One that makes no sense counts as none, as in
/// containerd: what it is on is then kept.
pub(crate) fn expiry(labels: &Labels) -> Option<SystemTime> {
    let text = labels.get(labels::GC_EXPIRE)?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(SystemTime::from(time))
}
