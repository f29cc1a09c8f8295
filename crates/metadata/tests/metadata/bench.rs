//! A database in a folder of its own, with the real stores below it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use stowd_core::any::Any;
use stowd_core::containers::{Container, Runtime};
use stowd_core::content::{Commit, WriterOptions};
use stowd_core::events::{Event, Publisher};
use stowd_core::filters::Filters;
use stowd_core::images::Image;
use stowd_core::snapshots::{Driver, Snapshotter};
use stowd_core::{Descriptor, Digest, Labels, Namespace, Result, Scope};
use stowd_metadata::{Config, Metadata, Parts};

/// Remembers what was published.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<(Namespace, Event)>>);

impl Publisher for Heard {
    fn publish(&self, namespace: &Namespace, event: Event) {
        self.0.lock().unwrap().push((namespace.clone(), event));
    }
}

/// An open database.
pub(crate) struct Bench {
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) heard: Arc<Heard>,
    next: AtomicU32,
    folder: tempfile::TempDir,
}

impl Bench {
    /// Opens a new one. Its collector runs when it is asked, or when something was removed.
    pub(crate) async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    async fn on(folder: tempfile::TempDir) -> Self {
        let heard = Arc::new(Heard::default());
        let metadata = open(folder.path(), heard.clone()).await.unwrap();
        Self { metadata, heard, next: 0.into(), folder }
    }

    /// Closes the database, lets `meanwhile` see its folder, and opens it again.
    pub(crate) async fn again(self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.metadata.shutdown().await;
        drop(self.metadata);
        meanwhile(self.folder.path());
        Self::on(self.folder).await
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a namespace that nothing is in.
    pub(crate) fn scope(&self) -> Scope {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Scope::new(Namespace::new(format!("n{next}")).unwrap())
    }

    /// Returns a namespace under a lease: garbage collection may come at any time.
    pub(crate) async fn leased(&self) -> Scope {
        let scope = self.scope();
        self.metadata.leases().create(&scope, "held", Labels::new()).await.unwrap();
        scope.with_lease("held")
    }

    pub(crate) fn native(&self) -> Arc<dyn Snapshotter> {
        self.metadata.snapshotters().snapshotter("native").unwrap()
    }

    /// Writes a blob.
    pub(crate) async fn put(&self, scope: &Scope, data: &str, labels: &[(&str, &str)]) -> Digest {
        put(&self.metadata, scope, data, labels).await.unwrap()
    }

    /// Makes an image.
    pub(crate) async fn image(
        &self,
        scope: &Scope,
        name: &str,
        target: &Digest,
        with: &[(&str, &str)],
    ) {
        let image = image(name, target, labels(with));
        self.metadata.images().create(scope, image).await.unwrap();
    }

    pub(crate) async fn has_blob(&self, scope: &Scope, digest: &Digest) -> bool {
        self.metadata.content().info(scope, digest).await.is_ok()
    }

    pub(crate) async fn has_image(&self, scope: &Scope, name: &str) -> bool {
        self.metadata.images().get(scope, name).await.is_ok()
    }

    pub(crate) async fn has_snapshot(&self, scope: &Scope, name: &str) -> bool {
        self.native().stat(scope, name).await.is_ok()
    }

    /// Returns the topics and events of a namespace so far.
    pub(crate) fn events(&self, scope: &Scope) -> Vec<Event> {
        let heard = self.heard.0.lock().unwrap();
        let of = heard.iter().filter(|(namespace, _)| *namespace == scope.namespace);
        of.map(|(_, event)| event.clone()).collect()
    }

    /// Lists the digests of a namespace.
    pub(crate) async fn blobs(&self, scope: &Scope) -> Vec<Digest> {
        let blobs = self.metadata.content().list(scope, Filters::default()).await.unwrap();
        let blobs: Vec<_> = blobs.try_collect().await.unwrap();
        blobs.into_iter().flatten().map(|info| info.digest).collect()
    }

    /// Lists the plain store's blobs and the native driver's trees.
    pub(crate) async fn on_disk(&self) -> (Vec<Digest>, Vec<u64>) {
        on_disk(self.folder()).await
    }
}

/// Opens the database in a folder.
pub(crate) async fn open(folder: &Path, publisher: Arc<dyn Publisher>) -> Result<Arc<Metadata>> {
    open_with(Config::new(folder.join("metadata")), folder, publisher).await
}

/// Opens the database in a folder, configured otherwise.
pub(crate) async fn open_with(
    config: Config,
    folder: &Path,
    publisher: Arc<dyn Publisher>,
) -> Result<Arc<Metadata>> {
    let native = stowd_snapshots::native::Native::new(folder.join("native"))?;
    let overlay = stowd_snapshots::overlayfs::Overlay::new(
        folder.join("overlayfs"),
        stowd_snapshots::overlayfs::Config::default(),
    )?;
    let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(native), Arc::new(overlay)];
    let blobs = stowd_content::open(folder.join("content")).await?;
    let mounter = stowd_mount::Activator::open(stowd_mount::manager::Config {
        targets: folder.join("targets"),
        roots: vec![folder.join("root")],
    })?;
    let parts = Parts { blobs, drivers, mounter: Some(Arc::new(mounter)), publisher };
    Metadata::open(config, parts).await
}

/// Lists the plain store's blobs and the native driver's trees.
pub(crate) async fn on_disk(folder: &Path) -> (Vec<Digest>, Vec<u64>) {
    let blobs = stowd_content::open(folder.join("content")).await.unwrap();
    let blobs = blobs.list().await.unwrap().into_iter().map(|(digest, _)| digest).collect();
    let native = stowd_snapshots::native::Native::new(folder.join("native")).unwrap();
    let trees = native.list().await.unwrap().into_iter().map(|tree| tree.0).collect();
    (blobs, trees)
}

/// Writes a blob; one that is there is as good.
pub(crate) async fn put(
    metadata: &Metadata,
    scope: &Scope,
    data: &str,
    with: &[(&str, &str)],
) -> Result<Digest> {
    let digest = Digest::of(data.as_bytes());
    let options = WriterOptions {
        reference: format!("put-{digest}"),
        expected: Some(digest.clone()),
        ..WriterOptions::default()
    };
    let mut writer = match metadata.content().writer(scope, options).await {
        Ok(writer) => writer,
        Err(error) if error.is_already_exists() => return Ok(digest),
        Err(error) => return Err(error),
    };
    if writer.status().offset == 0 {
        writer.write(Bytes::copy_from_slice(data.as_bytes())).await?;
    } else if writer.status().offset != data.len() as u64 {
        // An ingest of the same blob that a crash interrupted.
        writer.truncate(0).await?;
        writer.write(Bytes::copy_from_slice(data.as_bytes())).await?;
    }
    match writer.commit(Commit { labels: labels(with), ..Commit::default() }).await {
        Err(error) if error.is_already_exists() => Ok(digest),
        other => other,
    }
}

pub(crate) fn image(name: &str, target: &Digest, labels: Labels) -> Image {
    Image {
        name: name.to_owned(),
        labels,
        target: Descriptor::new("application/vnd.oci.image.manifest.v1+json", target.clone(), 2),
        created: std::time::SystemTime::UNIX_EPOCH,
        updated: std::time::SystemTime::UNIX_EPOCH,
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Waits until something is so, for ten seconds.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within ten seconds");
}

pub(crate) fn container(id: &str, labels: Labels) -> Container {
    Container {
        id: id.to_owned(),
        labels,
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(Any { type_url: "spec".to_owned(), value: Bytes::from_static(b"{}") }),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: std::collections::BTreeMap::new(),
        sandbox_id: String::new(),
        created: std::time::SystemTime::UNIX_EPOCH,
        updated: std::time::SystemTime::UNIX_EPOCH,
    }
}
