//! The rules of the contract, on both snapshotters.

use stowd_testing::conformance::{self, diff};

use crate::bench::Bench;

/// One after the other: a rule watches a file whose name is the same for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_kept_on_every_snapshotter() {
    stowd_testing::need!(root, overlayfs);
    for snapshotter in ["overlayfs", "native"] {
        let bench = Bench::new().await;
        conformance::run(snapshotter, diff::CHECKS, async |check| diff::Subject {
            applier: bench.walking.clone(),
            comparer: bench.walking.clone(),
            content: bench.content(),
            snapshotter: bench.snapshotter(snapshotter),
            scope: bench.scope().await,
            folder: bench.folder(&format!("check-{check}")),
        })
        .await;
    }
}
