//! The stores of a daemon without the daemon.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stowd_core::descriptor::media_type;
use stowd_core::diff::{Applier as _, Apply, Compare, Comparer as _, Placement, Source, Sync};
use stowd_core::events::{Event, Publisher};
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Driver, Snapshotter};
use stowd_core::{Descriptor, Digest, Labels, Namespace, Result, Scope, content};
use stowd_diff::{Config, Walking};
use stowd_metadata::{Metadata, Parts};
use stowd_testing::Scratch;

/// Nobody listens.
struct Deaf;

impl Publisher for Deaf {
    fn publish(&self, _: &Namespace, _: Event) {}
}

/// A differ and all that it works on, in a folder of its own.
pub(crate) struct Bench {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) walking: Arc<Walking>,
    next: AtomicU32,
    scratch: Scratch,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let scratch = Scratch::new();
        let native = stowd_snapshots::native::Native::new(scratch.join("native")).unwrap();
        let overlay = stowd_snapshots::overlayfs::Overlay::new(
            scratch.join("overlayfs"),
            stowd_snapshots::overlayfs::Config::default(),
        )
        .unwrap();
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(native), Arc::new(overlay)];
        let blobs = stowd_content::open(scratch.join("content")).await.unwrap();
        let parts = Parts { blobs, drivers, mounter: None, publisher: Arc::new(Deaf) };
        let config = stowd_metadata::Config::new(scratch.join("metadata"));
        let metadata = Metadata::open(config, parts).await.unwrap();
        let walking = Arc::new(Walking::new(metadata.content(), Config::default()));
        Self { metadata, walking, next: 0.into(), scratch }
    }

    pub(crate) fn content(&self) -> Arc<dyn content::Store> {
        self.metadata.content()
    }

    pub(crate) fn snapshotter(&self, name: &str) -> Arc<dyn Snapshotter> {
        self.metadata.snapshotters().snapshotter(name).unwrap()
    }

    /// Returns a namespace that nothing is in, under a lease.
    pub(crate) async fn scope(&self) -> Scope {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let scope = Scope::new(Namespace::new(format!("n{next}")).unwrap());
        self.metadata.leases().create(&scope, "held", Labels::new()).await.unwrap();
        scope.with_lease("held")
    }

    /// Makes a folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.scratch.folder(name)
    }
}

impl Bench {
    /// Applies a layer that comes as a stream.
    pub(crate) async fn apply(
        &self,
        mounts: &[Mount],
        placement: Placement,
        media_type: &str,
        data: Vec<u8>,
    ) -> Result<Descriptor> {
        let apply = Apply {
            layer: Descriptor::new(media_type, Digest::of(&data), data.len() as u64),
            mounts: mounts.to_vec(),
            placement,
            sync: Sync::Later,
            payloads: BTreeMap::new(),
        };
        let stream = Source::Stream(Box::new(Cursor::new(data)));
        self.walking.apply(&self.scope().await, apply, stream).await
    }

    /// Compares two trees and returns the layer's tar.
    pub(crate) async fn compare(&self, lower: &[Mount], upper: &[Mount]) -> Result<Vec<u8>> {
        let compare = Compare { media_type: media_type::LAYER.to_owned(), ..Compare::default() };
        let scope = self.scope().await;
        let layer = self.walking.compare(&scope, lower, upper, compare).await?;
        self.fetch(&scope, &layer).await
    }

    /// Returns a blob.
    pub(crate) async fn fetch(&self, scope: &Scope, layer: &Descriptor) -> Result<Vec<u8>> {
        let blob = self.content().open(scope, &layer.digest).await?;
        let size = usize::try_from(blob.size()).unwrap();
        assert_eq!(layer.size, blob.size());
        Ok(blob.read_at(0, size).await?.to_vec())
    }
}

/// Shows a directory.
pub(crate) fn bind(path: &Path) -> Vec<Mount> {
    vec![Mount {
        kind: "bind".to_owned(),
        source: path.to_str().unwrap().to_owned(),
        target: String::new(),
        options: vec!["rbind".to_owned(), "rw".to_owned()],
    }]
}

/// Shows directories, topmost first, below one that takes changes.
pub(crate) fn overlay(upper: &Path, lower: &[&Path], more: &[&str]) -> Vec<Mount> {
    let work = upper.with_extension("work");
    std::fs::create_dir_all(&work).unwrap();
    let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
    let mut options = vec![
        format!("workdir={}", work.display()),
        format!("upperdir={}", upper.display()),
        format!("lowerdir={}", lower.join(":")),
        "index=off".to_owned(),
    ];
    options.extend(more.iter().map(|&option| option.to_owned()));
    vec![Mount {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options,
    }]
}

/// Lists the names in a tar as GNU tar sees them.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tar).unwrap();
    let arguments = ["--quoting-style=literal", "-tf", file.path().to_str().unwrap()];
    let listed = stowd_testing::process::Run::program("tar").args(arguments).ok();
    listed.lines().map(str::to_owned).collect()
}
