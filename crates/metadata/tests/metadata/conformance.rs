//! The rules of the contracts, on the database over the real blob store and the real drivers.

use stowd_testing::conformance::{
    self, containers, content, images, leases, mounts, sandboxes, snapshots,
};

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_keeps_its_rules() {
    let bench = Bench::new().await;
    conformance::run("content", content::CHECKS, async |_| content::Subject {
        store: bench.metadata.content(),
        scope: bench.leased().await,
        other: bench.leased().await,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("images", images::CHECKS, async |_| images::Subject {
        images: bench.metadata.images(),
        content: bench.metadata.content(),
        leases: bench.metadata.leases(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("containers", containers::CHECKS, async |_| containers::Subject {
        containers: bench.metadata.containers(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("sandboxes", sandboxes::CHECKS, async |_| sandboxes::Subject {
        sandboxes: bench.metadata.sandboxes(),
        namespaces: bench.metadata.namespaces(),
        content: bench.metadata.content(),
        leases: bench.metadata.leases(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_collection_keep_their_rules() {
    let bench = Bench::new().await;
    conformance::run("leases", leases::CHECKS, async |_| leases::Subject {
        leases: bench.metadata.leases(),
        content: bench.metadata.content(),
        snapshotter: bench.metadata.snapshotters().snapshotter("native").unwrap(),
        snapshotter_name: "native".to_owned(),
        scope: bench.scope(),
        other: bench.scope(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_keep_their_rules() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    conformance::run("mounts", mounts::CHECKS, async |check| {
        let folder = bench.folder().join("root").join(check);
        std::fs::create_dir_all(&folder).unwrap();
        mounts::Subject {
            mounts: bench.metadata.mounts(),
            leases: bench.metadata.leases(),
            containers: bench.metadata.containers(),
            content: bench.metadata.content(),
            images: bench.metadata.images(),
            snapshotter: bench.native(),
            snapshotter_name: "native".to_owned(),
            scope: bench.leased().await,
            other: bench.leased().await,
            folder,
        }
    })
    .await;
}

async fn snapshots_on(name: &str) {
    let bench = Bench::new().await;
    conformance::run(name, snapshots::CHECKS, async |check| {
        let folder = bench.folder().join(format!("{name}-{check}"));
        std::fs::create_dir(&folder).unwrap();
        snapshots::Subject {
            snapshotter: bench.metadata.snapshotters().snapshotter(name).unwrap(),
            scope: bench.leased().await,
            other: bench.leased().await,
            folder,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlayfs_snapshots_keep_their_rules() {
    stowd_testing::need!(root, overlayfs);
    snapshots_on("overlayfs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_snapshots_keep_their_rules() {
    stowd_testing::need!(root);
    snapshots_on("native").await;
}
