//! Many callers at once: calls that share a commit, and writers that go on while garbage is
//! collected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete};
use stowd_core::{ErrorKind, Labels, Scope};

use crate::bench::{Bench, container, image, labels, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_spoils_no_other_of_its_commit() {
    let bench = Bench::new().await;
    let scope = bench.scope();
    let containers = bench.metadata.containers();
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..300 {
        let (containers, scope) = (containers.clone(), scope.clone());
        calls.spawn(async move {
            // Each id three times; two of them fail after others wrote in the same commit.
            let made = container(&format!("c{}", index % 100), Labels::new());
            containers.create(&scope, made).await.map(drop)
        });
    }
    let results = calls.join_all().await;
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(made, 100);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    let bench = bench.again(|_| {}).await;
    let containers = bench.metadata.containers();
    assert_eq!(containers.list(&scope, &Filters::default()).await.unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_flushes() {
    let bench = Bench::new().await;
    let scope = bench.scope();
    let containers = bench.metadata.containers();
    let alone = Instant::now();
    for index in 0..20 {
        let made = container(&format!("alone{index}"), Labels::new());
        containers.create(&scope, made).await.unwrap();
    }
    let alone = alone.elapsed() / 20;
    let together = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..1000 {
        let (containers, scope) = (containers.clone(), scope.clone());
        let made = container(&format!("together{index}"), Labels::new());
        calls.spawn(async move { containers.create(&scope, made).await.map(drop) });
    }
    for result in calls.join_all().await {
        result.unwrap();
    }
    eprintln!("alone {alone:?} a call, together {:?}", together.elapsed() / 1000);
    assert_eq!(containers.list(&scope, &Filters::default()).await.unwrap().len(), 1020);
}

/// Does over and over what a pull does: two blobs under a lease, an image, the lease away; then
/// looks for what it was told is there.
async fn pull(bench: Arc<Bench>, scope: Scope, stop: Arc<AtomicBool>) -> u32 {
    let (leases, images) = (bench.metadata.leases(), bench.metadata.images());
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let lease = format!("pull{round}");
        leases.create(&scope, &lease, Labels::new()).await.unwrap();
        let held = scope.clone().with_lease(&lease);
        let name = scope.namespace.as_str();
        // The layer is the same in all rounds, and between them nothing may keep it.
        let layer = put(&bench.metadata, &held, &format!("layer of {name}"), &[]).await.unwrap();
        let refers = [("containerd.io/gc.ref.content.l.0", layer.as_str())];
        let manifest = format!("manifest {round} of {name}");
        let manifest = put(&bench.metadata, &held, &manifest, &refers).await.unwrap();
        let key = format!("unpack{round}");
        bench.native().prepare(&held, &key, None, Labels::new()).await.unwrap();
        images.create(&scope, image("image", &manifest, Labels::new())).await.unwrap();
        assert!(bench.has_snapshot(&scope, &key).await, "{key} is under a lease");
        leases.delete(&scope, &lease, Collect::Later).await.unwrap();
        tokio::task::yield_now().await;
        for digest in [&layer, &manifest] {
            let blob = bench.metadata.content().open(&scope, digest).await;
            assert!(blob.is_ok(), "round {round}: an image refers to {digest}");
        }
        images.delete(&scope, "image", Delete::default()).await.unwrap();
        round += 1;
    }
    round
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_use_is_collected_while_writers_go_on() {
    let bench = Arc::new(Bench::new().await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        writers.spawn(pull(bench.clone(), bench.scope(), stop.clone()));
    }
    let end = Instant::now() + Duration::from_secs(2);
    let mut collections = 0;
    while Instant::now() < end {
        bench.metadata.collect().await.unwrap();
        collections += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let rounds: u32 = writers.join_all().await.into_iter().sum();
    assert!(rounds > 4 && collections > 4, "{rounds} rounds, {collections} collections");
    bench.metadata.collect().await.unwrap();
    assert_eq!(bench.on_disk().await, (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_shared_by_namespaces_outlive_all_but_the_last() {
    let bench = Arc::new(Bench::new().await);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (bench, scope) = (bench.clone(), bench.leased().await);
        writers.spawn(async move {
            for round in 0..30 {
                let with = labels(&[("round", &round.to_string())]);
                let with: Vec<_> = with.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let digest = put(&bench.metadata, &scope, "in all namespaces", &with).await;
                let digest = digest.unwrap();
                let content = bench.metadata.content();
                let blob = content.open(&scope, &digest).await.unwrap();
                assert_eq!(blob.size(), 17, "round {round}");
                content.delete(&scope, &digest).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    bench.metadata.collect().await.unwrap();
    assert_eq!(bench.on_disk().await.0, Vec::new());
}
