//! The stores of a daemon without the daemon.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use stowd_core::diff::{Applier, Apply, Source};
use stowd_core::events::{Event, Publisher};
use stowd_core::filters::Filters;
use stowd_core::progress::{Progress, Silent, Sink};
use stowd_core::snapshots::{Driver, Info, Kind};
use stowd_core::transfer::{
    Destination, NameRule, RegistryRef, Source as From, Store, Transfer as _, Unpack,
};
use stowd_core::{Descriptor, Digest, Error, Labels, Namespace, Platform, Result, Scope};
use stowd_metadata::{Metadata, Parts};
use stowd_testing::image::Image;
use stowd_transfer::{Config, Local};

/// Nobody listens.
struct Deaf;

impl Publisher for Deaf {
    fn publish(&self, _: &Namespace, _: Event) {}
}

/// Everything that transfers work with, in a folder of its own.
pub(crate) struct Bench {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) local: Arc<Local>,
    pub(crate) unroller: Arc<Unroller>,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let native = stowd_snapshots::native::Native::new(folder.path().join("native")).unwrap();
        let overlay = stowd_snapshots::overlayfs::Overlay::new(
            folder.path().join("overlayfs"),
            stowd_snapshots::overlayfs::Config::default(),
        )
        .unwrap();
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(native), Arc::new(overlay)];
        let blobs = stowd_content::open(folder.path().join("content")).await.unwrap();
        let parts = Parts { blobs, drivers, mounter: None, publisher: Arc::new(Deaf) };
        let config = stowd_metadata::Config::new(folder.path().join("metadata"));
        let metadata = Metadata::open(config, parts).await.unwrap();
        let unroller = Arc::new(Unroller::new(metadata.content()));
        let parts = stowd_transfer::Parts {
            content: metadata.content(),
            images: metadata.images(),
            leases: metadata.leases(),
            snapshotters: metadata.snapshotters(),
            applier: unroller.clone(),
            registries: Arc::new(stowd_registry::Client::new(stowd_registry::Config {
                tries: 3,
                pause: Duration::from_millis(10),
                ..stowd_registry::Config::default()
            })),
        };
        let local = Arc::new(Local::new(parts, Config::default()));
        Self { metadata, local, unroller, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn pull(&self, scope: &Scope, reference: &str, store: Store) -> Result<()> {
        self.pull_telling(scope, reference, store, Arc::new(Silent)).await
    }

    pub(crate) async fn pull_telling(
        &self,
        scope: &Scope,
        reference: &str,
        store: Store,
        progress: Arc<dyn Sink>,
    ) -> Result<()> {
        let store = Store { name: reference.to_owned(), ..store };
        let from = From::Registry(registry(reference));
        self.local.transfer(scope, from, Destination::Images(store), progress).await
    }

    pub(crate) async fn import(
        &self,
        scope: &Scope,
        archive: impl Read + Send + 'static,
        store: Store,
    ) -> Result<()> {
        let from = From::Archive(Box::new(archive));
        self.local.transfer(scope, from, Destination::Images(store), Arc::new(Silent)).await
    }

    /// Lists the names of all images.
    pub(crate) async fn images(&self, scope: &Scope) -> Vec<String> {
        let all = self.metadata.images().list(scope, &Filters::default()).await.unwrap();
        all.into_iter().map(|image| image.name).collect()
    }

    pub(crate) async fn blobs(&self, scope: &Scope) -> Vec<stowd_core::content::Info> {
        let chunks = self.metadata.content().list(scope, Filters::default()).await.unwrap();
        chunks.try_concat().await.unwrap()
    }

    pub(crate) async fn labels(&self, scope: &Scope, digest: &Digest) -> Labels {
        self.metadata.content().info(scope, digest).await.unwrap().labels
    }

    pub(crate) async fn snapshots(&self, scope: &Scope, name: &str) -> Vec<Info> {
        let snapshotter = self.metadata.snapshotters().snapshotter(name).unwrap();
        let chunks = snapshotter.list(scope, Filters::default()).await.unwrap();
        chunks.try_concat().await.unwrap()
    }

    /// Checks that an image is whole: its content, and its chain of snapshots with what is in them.
    pub(crate) async fn check(&self, scope: &Scope, image: &Image, snapshotter: &str) {
        for blob in image.blobs() {
            let found = self.metadata.content().open(scope, &blob.digest).await.unwrap();
            let data = found.read_at(0, blob.data.len() + 1).await.unwrap();
            assert_eq!(data, blob.data);
        }
        let diff_ids: Vec<Digest> = image.layers.iter().map(|it| it.diff_id.clone()).collect();
        let chain = stowd_images::chain_ids(&diff_ids);
        let found = self.snapshots(scope, snapshotter).await;
        let mut below = None;
        for (name, layer) in chain.iter().zip(&image.layers) {
            let info = found.iter().find(|it| it.name == name.as_str()).unwrap();
            assert_eq!(info.kind, Kind::Committed);
            assert_eq!(info.parent.as_deref(), below);
            assert_eq!(info.labels["containerd.io/snapshot.ref"], name.as_str());
            let labels = self.labels(scope, &layer.blob.digest).await;
            assert_eq!(labels["containerd.io/uncompressed"], layer.diff_id.as_str());
            below = Some(name.as_str());
        }
        assert!(found.iter().all(|it| it.kind == Kind::Committed), "{found:?}");
        let labels = self.labels(scope, &image.config().digest).await;
        let kept = labels.get(&format!("containerd.io/gc.ref.snapshot.{snapshotter}"));
        assert_eq!(kept.map(String::as_str), below);
    }

    /// Checks that nothing is left over: no lease, and nothing that garbage collection would take.
    pub(crate) async fn check_tidy(&self, scope: &Scope) {
        self.check_tidy_leases(scope).await;
        let before = self.blobs(scope).await.len();
        self.metadata.collect().await.unwrap();
        assert_eq!(self.blobs(scope).await.len(), before);
    }

    /// Checks that no lease and no ingest is left over.
    pub(crate) async fn check_tidy_leases(&self, scope: &Scope) {
        let leases = self.metadata.leases().list(scope, &Filters::default()).await.unwrap();
        assert_eq!(leases, []);
        let ingests = self.metadata.content().statuses(scope, &Filters::default()).await.unwrap();
        assert_eq!(ingests, []);
    }
}

/// Returns a namespace of its own name.
pub(crate) fn scope() -> Scope {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Scope::new(Namespace::new(name).unwrap())
}

pub(crate) fn registry(reference: &str) -> RegistryRef {
    RegistryRef { reference: reference.to_owned(), plain_http: true, ..RegistryRef::default() }
}

/// A store that unpacks for this host.
pub(crate) fn unpacking(snapshotter: &str) -> Store {
    Store {
        platforms: vec![Platform::host()],
        unpack: vec![Unpack { platform: None, snapshotter: snapshotter.to_owned() }],
        ..Store::default()
    }
}

/// A store that takes the names of an archive.
pub(crate) fn naming(prefix: &str) -> Store {
    let rule = NameRule {
        name: prefix.to_owned(),
        is_prefix: true,
        allow_overwrite: true,
        ..NameRule::default()
    };
    Store { extra_names: vec![rule], ..Store::default() }
}

/// Keeps all reports.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Mutex<Vec<Progress>>);

impl Sink for Reports {
    fn report(&self, progress: Progress) {
        self.0.lock().unwrap().push(progress);
    }
}

/// Reads layers to their end and leaves a note in the tree: what transfers need to know of an
/// applier, without the applier.
pub(crate) struct Unroller {
    content: Arc<dyn stowd_core::content::Store>,
    pub(crate) streamed: AtomicU32,
    pub(crate) stored: AtomicU32,
}

impl Unroller {
    fn new(content: Arc<dyn stowd_core::content::Store>) -> Self {
        Self { content, streamed: 0.into(), stored: 0.into() }
    }
}

#[async_trait]
impl Applier for Unroller {
    async fn apply(&self, scope: &Scope, apply: Apply, source: Source) -> Result<Descriptor> {
        let stream: Box<dyn Read + Send> = match source {
            Source::Stream(stream) => {
                self.streamed.fetch_add(1, Ordering::Relaxed);
                stream
            }
            Source::Stored => {
                self.stored.fetch_add(1, Ordering::Relaxed);
                let blob = self.content.open(scope, &apply.layer.digest).await?;
                let all = usize::try_from(blob.size()).unwrap();
                Box::new(std::io::Cursor::new(blob.read_at(0, all).await?))
            }
        };
        tokio::task::spawn_blocking(move || unroll(stream, &apply)).await.unwrap()
    }
}

fn unroll(mut stream: Box<dyn Read + Send>, apply: &Apply) -> Result<Descriptor> {
    let fault = |error: std::io::Error| Error::invalid(error);
    let mut data = Vec::new();
    stream.read_to_end(&mut data).map_err(fault)?;
    let mut tar = Vec::new();
    if apply.layer.media_type.contains("gzip") {
        flate2::read::GzDecoder::new(&data[..]).read_to_end(&mut tar).map_err(fault)?;
    } else if apply.layer.media_type.contains("zstd") {
        tar = zstd::decode_all(&data[..]).map_err(fault)?;
    } else {
        tar = data;
    }
    let mount = &apply.mounts[0];
    let folder = mount.option("upperdir").unwrap_or(&mount.source);
    fs::write(format!("{folder}/{}", apply.layer.digest.hex()), "").map_err(fault)?;
    Ok(Descriptor::new("", Digest::of(&tar), tar.len() as u64))
}
