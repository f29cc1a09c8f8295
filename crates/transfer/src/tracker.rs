//! Progress of a transfer's blobs, as containerd words it: `waiting`, `downloading`, `complete`,
//! `already exists`, `extracting`, `extracted`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stowd_core::progress::{Progress, Sink};
use stowd_core::{Descriptor, Digest};
use stowd_images::archive::REF_NAME;
use stowd_images::document::kind;

/// The least time between two reports of bytes of one blob.
const EVERY: Duration = Duration::from_millis(200);

/// Reports what happens to each blob of one image.
pub(crate) struct Tracker {
    sink: Arc<dyn Sink>,
    /// What blobs belong to that belong to no other; none when blobs are not reported.
    root: Option<String>,
    items: Mutex<HashMap<Digest, Item>>,
}

struct Item {
    parents: Vec<String>,
    last: Option<Instant>,
}

/// Returns the name of a blob's ingest and of its progress, containerd's `MakeRefKey`.
pub(crate) fn key(descriptor: &Descriptor) -> String {
    let (kind, digest) = (kind(&descriptor.media_type), &descriptor.digest);
    match descriptor.annotations.get(REF_NAME) {
        Some(name) => format!("{kind}-{name}@{digest}"),
        None => format!("{kind}-{digest}"),
    }
}

impl Tracker {
    pub(crate) fn new(sink: Arc<dyn Sink>, root: &str) -> Self {
        Self { sink, root: Some(root.to_owned()), items: Mutex::default() }
    }

    /// Reports only what happens to images and the whole, as containerd does where blobs neither
    /// come nor go.
    pub(crate) fn outline(sink: Arc<dyn Sink>) -> Self {
        Self { sink, root: None, items: Mutex::default() }
    }

    /// Reports something about the transfer as a whole.
    pub(crate) fn say(&self, event: impl Into<String>) {
        self.sink.report(Progress { event: event.into(), ..Progress::default() });
    }

    /// Reports something about an image.
    pub(crate) fn image(&self, event: &str, name: &str, target: &Descriptor) {
        self.sink.report(Progress {
            event: event.to_owned(),
            name: name.to_owned(),
            descriptor: Some(target.clone()),
            ..Progress::default()
        });
    }

    /// Announces a blob below another, or below the root.
    pub(crate) fn add(&self, descriptor: &Descriptor, parent: Option<&Descriptor>) {
        let Some(root) = &self.root else { return };
        let parent = parent.map_or_else(|| root.clone(), key);
        let new = {
            let mut items = self.items();
            let new = !items.contains_key(&descriptor.digest);
            let item = items
                .entry(descriptor.digest.clone())
                .or_insert_with(|| Item { parents: Vec::new(), last: None });
            if !item.parents.contains(&parent) {
                item.parents.push(parent);
            }
            new
        };
        if new {
            self.report("waiting", descriptor, 0);
        }
    }

    /// Reports bytes of a blob, not too often.
    pub(crate) fn bytes(&self, event: &str, descriptor: &Descriptor, done: u64) {
        let now = Instant::now();
        {
            let mut items = self.items();
            let Some(item) = items.get_mut(&descriptor.digest) else { return };
            if item.last.is_some_and(|last| now.duration_since(last) < EVERY) {
                return;
            }
            item.last = Some(now);
        }
        self.report(event, descriptor, done);
    }

    /// Reports that an act on a blob has begun.
    pub(crate) fn started(&self, event: &str, descriptor: &Descriptor) {
        self.report(event, descriptor, 0);
    }

    /// Reports that an act on a blob is done.
    pub(crate) fn done(&self, event: &str, descriptor: &Descriptor) {
        self.report(event, descriptor, descriptor.size);
    }

    fn report(&self, event: &str, descriptor: &Descriptor, done: u64) {
        if self.root.is_none() {
            return;
        }
        let parents =
            self.items().get(&descriptor.digest).map(|it| it.parents.clone()).unwrap_or_default();
        self.sink.report(Progress {
            event: event.to_owned(),
            name: key(descriptor),
            parents,
            progress: done,
            total: descriptor.size,
            descriptor: Some(descriptor.clone()),
        });
    }

    fn items(&self) -> MutexGuard<'_, HashMap<Digest, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
