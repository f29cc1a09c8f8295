//! What all stores share: the file, the queue, the parts below, and the books of files in the making.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream;
use stowd_core::content::Blobs;
use stowd_core::filters::{Adaptor, Filters};
use stowd_core::snapshots::{Driver, TreeId};
use stowd_core::{Chunks, Digest, Result};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::activations::Activations;
use crate::database::{Database, Read as _};
use crate::key::Key;
use crate::queue::Queue;
use crate::remover::Remover;
use crate::{Sharing, collector};

/// The most records of a list that are read at once.
const PAGE: usize = 256;
/// How many locks blobs share.
const LOCKS: usize = 61;

/// What all stores share.
pub(crate) struct Inner {
    pub(crate) database: Arc<Database>,
    pub(crate) queue: Queue,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) drivers: BTreeMap<String, Arc<dyn Driver>>,
    pub(crate) sharing: Sharing,
    pub(crate) remover: Remover,
    pub(crate) collector: collector::Handle,
    pub(crate) trees: Numbers<TreeId>,
    pub(crate) bytes: BytesLock,
    pub(crate) activations: Activations,
}

/// Keeps blobs from being removed while they are committed.
///
/// A commit holds it from before the bytes are in place until their record is durable, the remover
/// while it removes bytes that no record holds. Blobs share a fixed number of locks by their
/// digest, so that a removal waits for few commits, and few commits for it.
pub(crate) struct BytesLock(Vec<RwLock<()>>);

impl Default for BytesLock {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| RwLock::default()).collect())
    }
}

impl BytesLock {
    /// Waits until no such blob is being removed; one of unknown digest may be any.
    pub(crate) async fn commit(&self, digest: Option<&Digest>) -> Vec<RwLockReadGuard<'_, ()>> {
        let mut held = Vec::new();
        match digest {
            Some(digest) => held.push(self.of(digest).read().await),
            None => {
                for lock in &self.0 {
                    held.push(lock.read().await);
                }
            }
        }
        held
    }

    /// Waits until no such blob is being committed.
    pub(crate) async fn remove(&self, digest: &Digest) -> RwLockWriteGuard<'_, ()> {
        self.of(digest).write().await
    }

    fn of(&self, digest: &Digest) -> &RwLock<()> {
        let sum: usize = digest.hex().bytes().map(usize::from).sum();
        &self.0[sum % LOCKS]
    }
}

/// Numbers of things on disk, and which of these are there but not recorded, or no longer.
pub(crate) struct Numbers<I> {
    last: AtomicU64,
    working: Mutex<BTreeSet<I>>,
    wrap: fn(u64) -> I,
}

/// A number that is worked on. Until this is dropped, what is on disk under it counts as wanted.
pub(crate) struct Working<'a, I: Ord + Copy> {
    numbers: &'a Numbers<I>,
    pub(crate) id: I,
}

impl<I: Ord + Copy> Numbers<I> {
    /// Makes the books, given the highest number that may be on disk.
    pub(crate) fn new(last: u64, wrap: fn(u64) -> I) -> Self {
        Self { last: AtomicU64::new(last), working: Mutex::default(), wrap }
    }

    /// Gives out a number.
    pub(crate) fn begin(&self) -> Working<'_, I> {
        // Listed before it can be on disk, and in one step with its number: whoever then looks for
        // what has no record finds it here.
        let mut working = self.lock();
        let id = (self.wrap)(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        working.insert(id);
        Working { numbers: self, id }
    }

    /// Works on a number that was given out before.
    pub(crate) fn again(&self, id: I) -> Working<'_, I> {
        self.lock().insert(id);
        Working { numbers: self, id }
    }

    pub(crate) fn in_work(&self) -> BTreeSet<I> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<I>> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Ord + Copy> Drop for Working<'_, I> {
    fn drop(&mut self) {
        self.numbers.lock().remove(&self.id);
    }
}

impl Inner {
    /// Lists records below a prefix in pages, each as one consistent view: `read` makes an item of
    /// a key and a value, or nothing to leave it out.
    pub(crate) fn list<T, F>(self: &Arc<Self>, prefix: Key, filters: Filters, read: F) -> Chunks<T>
    where
        T: Adaptor + Send + 'static,
        F: Fn(&[u8], &[u8]) -> Result<Option<T>> + Send + Sync + 'static,
    {
        struct Place {
            after: Option<Key>,
            done: bool,
        }
        let inner = self.clone();
        let start = Place { after: None, done: false };
        Box::pin(stream::try_unfold(start, move |place| {
            let page = if place.done {
                Ok(None)
            } else {
                inner.page(&prefix, place.after.as_ref(), &filters, &read).map(|(items, after)| {
                    let done = after.is_none();
                    Some((items, Place { after, done }))
                })
            };
            std::future::ready(page)
        }))
    }

    /// Reads one page; the key is where the next one continues.
    fn page<T: Adaptor>(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        filters: &Filters,
        read: &impl Fn(&[u8], &[u8]) -> Result<Option<T>>,
    ) -> Result<(Vec<T>, Option<Key>)> {
        use std::ops::ControlFlow::{Break, Continue};
        let mut items = Vec::new();
        let mut seen = 0;
        let mut next = None;
        self.database.view(|view| {
            view.walk(prefix, after, |key, value| {
                if let Some(item) = read(key, value)?
                    && filters.matches(&item)
                {
                    items.push(item);
                }
                seen += 1;
                if seen == PAGE {
                    next = Some(Key::from_bytes(key));
                    return Ok(Break(()));
                }
                Ok(Continue(()))
            })
        })?;
        Ok((items, next))
    }

    /// Lists all records below a prefix in one consistent view.
    pub(crate) fn all<T: Adaptor>(
        &self,
        prefix: &Key,
        filters: &Filters,
        read: impl Fn(&[u8], &[u8]) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        self.database.view(|view| {
            view.walk(prefix, None, |key, value| {
                if let Some(item) = read(key, value)?
                    && filters.matches(&item)
                {
                    items.push(item);
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })
        })?;
        Ok(items)
    }
}
