//! Walking images in the real store.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::sync::Arc;

use stowd_core::content::Store;
use stowd_core::descriptor::media_type;
use stowd_core::events::{Event, Publisher};
use stowd_core::platform::Matcher;
use stowd_core::{Descriptor, Digest, ErrorKind, Labels, Namespace, Platform, Scope};
use stowd_images::{Choice, Config, Index, graph, usage};
use stowd_metadata::{Metadata, Parts};
use stowd_testing::image::{Blob, Compression, Image, Index as Made, Layer};

struct Deaf;

impl Publisher for Deaf {
    fn publish(&self, _: &Namespace, _: Event) {}
}

struct Bench {
    store: Arc<dyn Store>,
    scope: Scope,
    _metadata: Arc<Metadata>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = stowd_content::open(folder.path().join("content")).await.unwrap();
        let parts = Parts { blobs, drivers: Vec::new(), mounter: None, publisher: Arc::new(Deaf) };
        let config = stowd_metadata::Config::new(folder.path().join("metadata"));
        let metadata = Metadata::open(config, parts).await.unwrap();
        let scope = Scope::new(Namespace::new("n").unwrap());
        metadata.leases().create(&scope, "held", Labels::new()).await.unwrap();
        Self {
            store: metadata.content(),
            scope: scope.with_lease("held"),
            _metadata: metadata,
            _folder: folder,
        }
    }

    async fn put(&self, blob: &Blob) -> Descriptor {
        let Blob { media_type, digest, data } = blob;
        let size = data.len() as u64;
        let data = data.clone().into();
        let reference = digest.as_str();
        stowd_images::put(&*self.store, &self.scope, reference, digest, data, Labels::new())
            .await
            .unwrap();
        Descriptor::new(media_type, digest.clone(), size)
    }

    async fn put_all(&self, image: &Image) -> Descriptor {
        for blob in image.blobs() {
            self.put(&blob).await;
        }
        self.put(&image.manifest()).await
    }

    async fn put_index(&self, manifests: Vec<Descriptor>) -> Descriptor {
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            manifests,
            annotations: Default::default(),
        };
        let data = serde_json::to_vec(&index).unwrap();
        self.put(&Blob::new(media_type::INDEX, data)).await
    }
}

fn image(architecture: &str) -> Image {
    let layer = Layer::new().file(architecture, architecture);
    let second = Layer::new().file("all", "the same everywhere");
    Image::packed(vec![layer.pack(Compression::Gzip), second.pack(Compression::Gzip)])
        .architecture(architecture)
}

fn only(platform: &str) -> Matcher {
    Matcher::only(&Platform::parse(platform).unwrap())
}

#[tokio::test]
async fn the_best_manifest_is_found() {
    let bench = Bench::new().await;
    let images = ["s390x", "386", "amd64"].map(image);
    let index = Made::of(images.clone()).blob();
    for image in &images {
        bench.put_all(image).await;
    }
    let top = bench.put(&index).await;
    let find = async |top: &Descriptor, platform: &str| {
        graph::manifest(&*bench.store, &bench.scope, top, &only(platform)).await
    };
    let (found, manifest) = find(&top, "linux/amd64").await.unwrap();
    assert_eq!(found.digest, images[2].manifest().digest);
    let config = Config::read(&*bench.store, &bench.scope, &manifest.config).await.unwrap();
    assert_eq!(config.platform().architecture, "amd64");
    assert_eq!(config.diff_ids()[1], images[2].layers[1].diff_id);
    let error = find(&top, "linux/riscv64").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint_text(), Some("it has linux/s390x, linux/386, linux/amd64"));

    // Without platforms in the index the configs decide; below an index of an index, too.
    let mut bare = Vec::new();
    for image in &images {
        bare.push(bench.put(&image.manifest()).await);
    }
    let inner = bench.put_index(bare).await;
    let outer = bench.put_index(vec![inner]).await;
    let (found, _) = find(&outer, "linux/386").await.unwrap();
    assert_eq!(found.digest, images[1].manifest().digest);
}

#[tokio::test]
async fn each_blob_is_met_once() {
    let bench = Bench::new().await;
    let images = ["s390x", "amd64"].map(image);
    for image in &images {
        bench.put_all(image).await;
    }
    let top = bench.put(&Made::of(images.clone()).blob()).await;
    let everything = Choice::everything();
    let all = graph::reachable(&*bench.store, &bench.scope, &top, &everything).await.unwrap();
    // Both have the second layer.
    assert_eq!(all.len(), 1 + 4 + 4 - 1);
    assert_eq!(all[0].digest, top.digest);

    let platforms = [Platform::parse("linux/amd64").unwrap()];
    let some = usage::of(&*bench.store, &bench.scope, &top, &platforms).await.unwrap();
    let own: usize = images[1].blobs().iter().map(|blob| blob.data.len()).sum();
    assert_eq!(some.promised, top.size + own as u64);
    assert_eq!((some.present, some.missing), (some.promised, 0));
    bench.store.delete(&bench.scope, &images[1].layers[0].blob.digest).await.unwrap();
    let less = usage::of(&*bench.store, &bench.scope, &top, &platforms).await.unwrap();
    assert_eq!((less.promised, less.missing), (some.promised, 1));
}

#[tokio::test]
async fn trees_have_limits() {
    let bench = Bench::new().await;
    let mut top = bench.put_all(&image("amd64")).await;
    for _ in 0..graph::MAX_DEPTH + 2 {
        top = bench.put_index(vec![top]).await;
    }
    let all = graph::reachable(&*bench.store, &bench.scope, &top, &Choice::everything()).await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let best = graph::manifest(&*bench.store, &bench.scope, &top, &Matcher::all()).await;
    assert_eq!(best.unwrap_err().kind(), ErrorKind::InvalidArgument);

    let long = vec![b' '; (stowd_images::document::MAX_SIZE + 1) as usize];
    let long = bench.put(&Blob::new(media_type::MANIFEST, long)).await;
    let error = graph::children(&*bench.store, &bench.scope, &long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let mut lies = bench.put(&image("amd64").manifest()).await;
    lies.size += 1;
    let error = graph::children(&*bench.store, &bench.scope, &lies).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let absent = Descriptor::new(media_type::MANIFEST, Digest::of(b"absent"), 1);
    let error = graph::children(&*bench.store, &bench.scope, &absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
