//! Registries and images that are not what they should be.

use stowd_core::filters::Filters;
use stowd_core::{Digest, ErrorKind, Scope};
use stowd_testing::gateway::{Fault, Gateway, Rules};
use stowd_testing::image::Image;
use stowd_testing::{Registry, Scratch, need};

use crate::bench::{Bench, scope, unpacking};
use crate::pull::image;

async fn check_nothing_shows(bench: &Bench, scope: &Scope) {
    assert!(bench.images(scope).await.is_empty());
    let snapshots = bench.snapshots(scope, "overlayfs").await;
    assert!(snapshots.iter().all(|it| !it.name.starts_with("extract-")), "{snapshots:?}");
    let leases = bench.metadata.leases().list(scope, &Filters::default()).await.unwrap();
    assert_eq!(leases, []);
}

fn gateway(registry: &Registry, digest: &Digest, fault: Fault, times: u32) -> Gateway {
    let faults = vec![(format!("blobs/{digest}"), fault, times)];
    Gateway::start(registry.address(), Rules { faults, ..Rules::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_bytes_are_refused_and_not_resumed() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    registry.push("deck/false", "v1", &image);
    let gateway = gateway(&registry, &image.layers[1].blob.digest, Fault::FlipBit, 1);
    let reference = format!("{}/deck/false:v1", gateway.host());
    let error = bench.pull(&scope, &reference, unpacking("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    check_nothing_shows(&bench, &scope).await;
    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    bench.check(&scope, &image, "overlayfs").await;
    bench.check_tidy(&scope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_layer_fails_the_whole_and_the_next_pull_goes_on() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    registry.push("deck/missing", "v1", &image);
    let gateway = gateway(&registry, &image.layers[0].blob.digest, Fault::Status(404), 1);
    let reference = format!("{}/deck/missing:v1", gateway.host());
    let error = bench.pull(&scope, &reference, unpacking("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    check_nothing_shows(&bench, &scope).await;
    bench.pull(&scope, &reference, unpacking("native")).await.unwrap();
    bench.check(&scope, &image, "native").await;
    bench.check_tidy(&scope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_off_goes_on_in_the_same_layer() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    registry.push("deck/broken", "v1", &image);
    let layer = &image.layers[0].blob;
    let gateway = gateway(&registry, &layer.digest, Fault::CutAfter(5000), 2);
    let reference = format!("{}/deck/broken:v1", gateway.host());
    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    bench.check(&scope, &image, "overlayfs").await;
    bench.check_tidy(&scope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_pull_goes_on_where_one_was_given_up() {
    need!(root, overlayfs, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let image = image();
    registry.push("deck/flaky", "v1", &image);
    let layer = &image.layers[0].blob;
    let gateway = gateway(&registry, &layer.digest, Fault::CutAfter(5000), 3);
    let reference = format!("{}/deck/flaky:v1", gateway.host());
    let error = bench.pull(&scope, &reference, unpacking("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(bench.images(&scope).await.is_empty());

    // What came survives, for a while, whatever is collected meanwhile.
    let content = bench.metadata.content();
    bench.metadata.collect().await.unwrap();
    let status = content.status(&scope, &format!("layer-{}", layer.digest)).await.unwrap();
    assert!(status.offset >= 5000, "{status:?}");
    let leases = bench.metadata.leases().list(&scope, &Filters::default()).await.unwrap();
    assert!(leases[0].id.starts_with("remains-"), "{leases:?}");
    assert!(leases[0].labels.contains_key("containerd.io/gc.expire"));

    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    bench.check(&scope, &image, "overlayfs").await;
    bench.check_tidy(&scope).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configs_that_lie_are_refused() {
    need!(root, overlayfs, clients);
    let (scratch, bench) = (Scratch::new(), Bench::new().await);
    let registry = Registry::start(&scratch);
    let mut wrong = image();
    wrong.layers[1].diff_id = Digest::of(b"something else");
    let reference = registry.push("deck/lies", "v1", &wrong);
    for snapshotter in ["overlayfs", "native"] {
        let scope = scope();
        let error = bench.pull(&scope, &reference, unpacking(snapshotter)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("wrong diff id"), "{error}");
        check_nothing_shows(&bench, &scope).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_and_snapshotters_are_told() {
    need!(root, clients);
    let (scratch, bench, scope) = (Scratch::new(), Bench::new().await, scope());
    let registry = Registry::start(&scratch);
    let reference = registry.push("deck/there", "v1", &Image::of(&[]));
    let absent = format!("{}/deck/absent:v1", registry.host());
    let error = bench.pull(&scope, &absent, unpacking("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = bench.pull(&scope, &reference, unpacking("carving")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    check_nothing_shows(&bench, &scope).await;
    // No layers: nothing to unpack, and an image all the same.
    bench.pull(&scope, &reference, unpacking("")).await.unwrap();
    assert_eq!(bench.images(&scope).await, [reference]);
}
