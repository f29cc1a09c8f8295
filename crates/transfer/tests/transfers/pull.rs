//! Pulling from a real registry.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stowd_core::images::{Collect, Delete};
use stowd_core::transfer::{NameRule, Store};
use stowd_core::{ErrorKind, Platform};
use stowd_testing::gateway::{Gateway, Rules};
use stowd_testing::image::{Compression, Image, Index, Layer};
use stowd_testing::{Registry, Scratch, need};

use crate::bench::{Bench, Reports, scope, unpacking};

/// Three layers, each compressed in another way.
pub(crate) fn image() -> Image {
    let layers = ["one", "two", "three"].map(|name| Layer::new().file(name, name.repeat(9000)));
    let packed = layers.iter().zip(Compression::ALL).map(|(layer, how)| layer.pack(how));
    Image::packed(packed.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_is_whole_and_kept() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    let reference = registry.push("deck/three", "v1", &image);
    let reports = Arc::new(Reports::default());
    bench.pull_telling(&scope, &reference, unpacking(""), reports.clone()).await.unwrap();

    bench.check(&scope, &image, "overlayfs").await;
    bench.check_tidy(&scope).await;
    bench.check(&scope, &image, "overlayfs").await;
    let record = bench.metadata.images().get(&scope, &reference).await.unwrap();
    assert_eq!(record.target.digest, image.manifest().digest);
    let labels = bench.labels(&scope, &image.manifest().digest).await;
    assert_eq!(labels["containerd.io/gc.ref.content.config"], image.config().digest.as_str());
    assert_eq!(labels["containerd.io/gc.ref.content.l.2"], image.layers[2].blob.digest.as_str());
    for blob in image.blobs() {
        let labels = bench.labels(&scope, &blob.digest).await;
        assert_eq!(labels["containerd.io/distribution.source.127.0.0.1"], "deck/three");
    }
    assert!(bench.unroller.streamed.load(Ordering::Relaxed) > 0);
    let told = reports.0.lock().unwrap().clone();
    let layer = format!("layer-{}", image.layers[0].blob.digest);
    let events: Vec<&str> =
        told.iter().filter(|it| it.name == layer).map(|it| it.event.as_str()).collect();
    assert_eq!(events.first(), Some(&"waiting"), "{events:?}");
    assert!(events.contains(&"complete"), "{events:?}");
    assert_eq!(events.last(), Some(&"extracted"), "{events:?}");
    assert_eq!(told.first().unwrap().event, format!("Resolving from OCI Registry ({reference})"));
    assert!(told.iter().any(|it| it.event == "saved" && it.name == reference));

    let delete = Delete { collect: Collect::BeforeReturn, target: None };
    bench.metadata.images().delete(&scope, &reference, delete).await.unwrap();
    assert_eq!(bench.blobs(&scope).await, []);
    assert_eq!(bench.snapshots(&scope, "overlayfs").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_stack_without_rebase() {
    need!(root, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    let reference = registry.push("deck/native", "v1", &image);
    bench.pull(&scope, &reference, unpacking("native")).await.unwrap();
    bench.check(&scope, &image, "native").await;
    assert_eq!(bench.unroller.streamed.load(Ordering::Relaxed), 1);
    assert_eq!(bench.unroller.stored.load(Ordering::Relaxed), 2);
    bench.check_tidy(&scope).await;

    // A second snapshotter needs no download.
    bench.pull(&scope, &reference, unpacking("overlayfs")).await.unwrap();
    bench.check(&scope, &image, "overlayfs").await;
    bench.check(&scope, &image, "native").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_blob_comes_once_for_all() {
    need!(root, overlayfs, clients);
    let (scratch, bench) = (Scratch::new(), Arc::new(Bench::new().await));
    let registry = Registry::start(&scratch);
    let base = image();
    let mut upper = base.clone();
    upper.layers.push(Layer::new().file("four", "4").pack(Compression::Gzip));
    registry.push("deck/base", "v1", &base);
    registry.push("deck/base", "v2", &upper);
    let gateway = Gateway::start(registry.address(), Rules::default());
    let scopes = [scope(), scope()];
    let mut running = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (bench, scope) = (bench.clone(), scopes[at % 2].clone());
        let reference = format!("{}/deck/base:v{}", gateway.host(), 1 + at % 4 / 2);
        running.spawn(async move { bench.pull(&scope, &reference, unpacking("")).await });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap().unwrap();
    }
    for scope in &scopes {
        assert_eq!(bench.images(scope).await.len(), 2);
        bench.check(scope, &base, "overlayfs").await;
        bench.check(scope, &upper, "overlayfs").await;
        bench.check_tidy(scope).await;
    }
    let requests = gateway.requests();
    for layer in &upper.layers {
        let wanted = format!("blobs/{}", layer.blob.digest);
        let asked = requests.iter().filter(|it| it.starts_with("GET") && it.contains(&wanted));
        assert_eq!(asked.count(), 1, "{requests:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_pull_downloads_nothing() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    registry.push("deck/again", "v1", &image());
    let gateway = Gateway::start(registry.address(), Rules::default());
    let reference = format!("{}/deck/again:v1", gateway.host());
    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    let first = gateway.requests().len();
    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    let again = gateway.requests().split_off(first);
    assert!(again.iter().all(|it| !it.contains("/blobs/")), "{again:?}");
    bench.check(&scope, &image(), "overlayfs").await;
    bench.check_tidy(&scope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platforms_are_chosen() {
    need!(root, overlayfs, clients);
    let (scratch, bench) = (Scratch::new(), Bench::new().await);
    let registry = Registry::start(&scratch);
    let (ours, other) = (image(), Image::of(&[Layer::new().file("x", "x")]).architecture("s390x"));
    let index = Index::of([other.clone(), ours.clone()]);
    let reference = registry.push_index("deck/many", "v1", &index);

    let host = scope();
    bench.pull(&host, &reference, unpacking("")).await.unwrap();
    bench.check(&host, &ours, "overlayfs").await;
    assert_eq!(bench.blobs(&host).await.len(), 1 + ours.blobs().len());
    let labels = bench.labels(&host, &index.blob().digest).await;
    assert_eq!(labels["containerd.io/gc.ref.content.m.0"], other.manifest().digest.as_str());

    let metadata = scope();
    let store = Store { all_metadata: true, ..unpacking("") };
    bench.pull(&metadata, &reference, store).await.unwrap();
    // The other's manifest and config, not its layer.
    assert_eq!(bench.blobs(&metadata).await.len(), 1 + ours.blobs().len() + 2);

    let all = scope();
    bench.pull(&all, &reference, Store::default()).await.unwrap();
    assert_eq!(bench.blobs(&all).await.len(), 1 + ours.blobs().len() + other.blobs().len());
    assert_eq!(bench.snapshots(&all, "overlayfs").await, []);

    let none = scope();
    let platforms = vec![Platform::parse("linux/mips64le").unwrap()];
    let store = Store { platforms, ..Store::default() };
    let error = bench.pull(&none, &reference, store).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no match for platform in manifest"), "{error}");
    assert!(bench.images(&none).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_names_live_with_the_first() {
    need!(root, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    let reference = registry.push("deck/names", "v1", &image);
    let digest = NameRule { name: "deck".to_owned(), add_digest: true, ..NameRule::default() };
    let store = Store { extra_names: vec![digest], ..Store::default() };
    bench.pull(&scope, &reference, store).await.unwrap();
    let by_digest = format!("deck@{}", image.manifest().digest);
    assert_eq!(bench.images(&scope).await, [reference.clone(), by_digest.clone()]);
    bench.metadata.collect().await.unwrap();
    let extra = bench.metadata.images().get(&scope, &by_digest).await.unwrap();
    assert_eq!(extra.labels["containerd.io/gc.bref.image"], reference);
}
