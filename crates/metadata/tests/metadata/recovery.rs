//! What opening finds: files without records, records without files, a file in use or damaged.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use stowd_core::content::WriterOptions;
use stowd_core::filters::Filters;
use stowd_core::snapshots::{Driver as _, Kind, Tree, TreeId};
use stowd_core::{ErrorKind, Labels, Scope};

use crate::bench::{Bench, Heard, open, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_record_knows_are_removed() {
    let bench = Bench::new().await;
    let scope = bench.leased().await;
    let kept = bench.put(&scope, "kept", &[]).await;
    bench.native().prepare(&scope, "kept", None, Labels::new()).await.unwrap();
    let (_, trees) = bench.on_disk().await;
    let open = WriterOptions { reference: "kept".to_owned(), ..WriterOptions::default() };
    let mut writer = bench.metadata.content().writer(&scope, open).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    drop(writer);

    // The first look for strays is over, lest it finds them too early.
    bench.metadata.collect().await.unwrap();
    // As a crash between the files and their records leaves them.
    let blobs = stowd_content::open(bench.folder().join("content")).await.unwrap();
    for reference in ["whole", "half"] {
        let options = WriterOptions { reference: reference.to_owned(), ..Default::default() };
        let mut writer = blobs.writer(reference, options).await.unwrap();
        writer.write(Bytes::from_static(b"nobody's")).await.unwrap();
        if reference == "whole" {
            writer.commit(stowd_core::content::Commit::default()).await.unwrap();
        }
    }
    let native = stowd_snapshots::native::Native::new(bench.folder().join("native")).unwrap();
    let id = TreeId(trees[0] + 40);
    let tree = Tree { id, kind: Kind::Active, parents: Vec::new(), labels: Labels::new() };
    native.make(&tree).await.unwrap();
    drop(blobs);

    let bench = bench.again(|_| {}).await;
    until("the strays go", async || bench.on_disk().await == (vec![kept.clone()], trees.clone()))
        .await;
    let blobs = stowd_content::open(bench.folder().join("content")).await.unwrap();
    until("the ingests go", async || blobs.ingests().await.unwrap().len() == 1).await;
    let content = bench.metadata.content();
    let status = content.status(&scope, "kept").await.unwrap();
    assert_eq!(status.offset, 4);
    // A number that was on disk is not given out again.
    bench.native().prepare(&scope, "next", None, Labels::new()).await.unwrap();
    let (_, now) = bench.on_disk().await;
    assert!(now.iter().any(|tree| *tree > id.0), "{now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_whose_bytes_were_lost_can_be_sent_again() {
    let bench = Bench::new().await;
    let scope = bench.leased().await;
    let other = bench.leased().await;
    let refers = [("containerd.io/gc.ref.content.0", "sha256:00")];
    let digest = bench.put(&scope, "bytes", &refers).await;
    let lost = digest.clone();
    let bench = bench
        .again(|folder| {
            let blob = folder.join("content/blobs/sha256").join(lost.hex());
            fs::remove_file(blob).unwrap();
        })
        .await;
    let content = bench.metadata.content();
    assert_eq!(content.info(&scope, &digest).await.unwrap().labels.len(), 1);
    let error = content.open(&scope, &digest).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Another namespace cannot share what is not there, and sends them itself.
    bench.put(&other, "bytes", &[]).await;
    assert_eq!(content.open(&scope, &digest).await.unwrap().size(), 5);
    assert_eq!(content.info(&scope, &digest).await.unwrap().labels.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingest_that_shares_gives_its_hold_up() {
    let bench = Bench::new().await;
    let (scope, other) = (bench.leased().await, bench.leased().await);
    let digest = bench.put(&scope, "bytes", &[]).await;
    let content = bench.metadata.content();
    let share = |expected| WriterOptions {
        reference: "share".to_owned(),
        expected: Some(expected),
        ..WriterOptions::default()
    };
    let writer = content.writer(&other, share(digest.clone())).await.unwrap();
    assert_eq!(writer.status().offset, 5);
    content.delete(&scope, &digest).await.unwrap();
    bench.metadata.collect().await.unwrap();
    assert_eq!(bench.on_disk().await.0, std::slice::from_ref(&digest), "the ingest holds them");
    drop(writer);
    // The same ingest, for something else.
    let another = stowd_core::Digest::of(b"another");
    drop(content.writer(&other, share(another)).await.unwrap());
    bench.metadata.collect().await.unwrap();
    assert!(bench.on_disk().await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_its_ingests_along() {
    let bench = Bench::new().await;
    let scope = bench.scope();
    let from = bench.leased().await;
    let digest = bench.put(&from, "bytes", &[]).await;
    let content = bench.metadata.content();
    let mut options = WriterOptions { reference: "own".to_owned(), ..WriterOptions::default() };
    drop(content.writer(&scope, options.clone()).await.unwrap());
    options.reference = "shared".to_owned();
    options.expected = Some(digest.clone());
    drop(content.writer(&scope, options).await.unwrap());
    bench.metadata.namespaces().delete(&scope.namespace).await.unwrap();
    assert!(content.statuses(&scope, &Filters::default()).await.unwrap().is_empty());
    content.delete(&from, &digest).await.unwrap();
    bench.metadata.collect().await.unwrap();
    assert!(bench.on_disk().await.0.is_empty());
    let blobs = stowd_content::open(bench.folder().join("content")).await.unwrap();
    assert!(blobs.ingests().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_under_a_lease_that_is_gone_leaves_nothing() {
    let bench = Bench::new().await;
    let scope = bench.leased().await;
    let options = WriterOptions { reference: "late".to_owned(), ..WriterOptions::default() };
    let content = bench.metadata.content();
    let mut writer = content.writer(&scope, options).await.unwrap();
    writer.write(Bytes::from_static(b"late")).await.unwrap();
    let plain = Scope::new(scope.namespace.clone());
    let later = stowd_core::images::Collect::Later;
    bench.metadata.leases().delete(&plain, "held", later).await.unwrap();
    writer.commit(stowd_core::content::Commit::default()).await.unwrap_err();
    drop(writer);
    bench.metadata.collect().await.unwrap();
    assert!(bench.on_disk().await.0.is_empty());
    assert!(content.statuses(&plain, &Filters::default()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_use_is_left_alone() {
    let bench = Bench::new().await;
    let error = open(bench.folder(), Arc::new(Heard::default())).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    let scope = bench.leased().await;
    bench.put(&scope, "still there", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_reported_and_left_as_it_is() {
    let bench = Bench::new().await;
    let scope = bench.leased().await;
    bench.put(&scope, "bytes", &[]).await;
    bench.metadata.shutdown().await;
    let file = bench.folder().join("metadata/meta.redb");
    let good = fs::read(&file).unwrap();
    let zeros = vec![0; good.len()];
    let mut flipped = good.clone();
    for byte in flipped.iter_mut().step_by(97) {
        *byte ^= 0x5a;
    }
    for damaged in [Vec::new(), b"not a database".to_vec(), zeros, flipped] {
        fs::write(&file, &damaged).unwrap();
        let error = open(bench.folder(), Arc::new(Heard::default())).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        assert!(error.hint_text().is_some());
        assert!(fs::read(&file).unwrap() == damaged, "the file was changed");
    }
    fs::write(&file, good).unwrap();
    let metadata = open(bench.folder(), Arc::new(Heard::default())).await.unwrap();
    assert_eq!(metadata.leases().list(&scope, &Filters::default()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_containerds_database_nothing_is_removed() {
    let bench = Bench::new().await;
    let digest = stowd_core::Digest::of(b"containerd's");
    let hex = digest.hex().to_owned();
    let bench = bench
        .again(move |folder| {
            fs::write(folder.join("metadata/meta.db"), b"bolt").unwrap();
            let blobs = folder.join("content/blobs/sha256");
            fs::create_dir_all(&blobs).unwrap();
            fs::write(blobs.join(hex), b"containerd's").unwrap();
        })
        .await;
    bench.metadata.collect().await.unwrap();
    assert_eq!(bench.on_disk().await.0, [digest]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_shutdown_calls_are_refused() {
    let bench = Bench::new().await;
    let scope = bench.leased().await;
    let metadata = bench.metadata.clone();
    let collecting = tokio::spawn(async move { metadata.collect().await });
    bench.metadata.shutdown().await;
    // The collection was finished or given up, but its caller is told.
    if let Err(error) = collecting.await.unwrap() {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let leases = bench.metadata.leases();
    let refused = [
        leases.list(&scope, &Filters::default()).await.map(drop),
        leases.create(&scope, "late", Labels::new()).await.map(drop),
        bench.metadata.collect().await.map(drop),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
