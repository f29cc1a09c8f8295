//! The blob store on a real file system.

#![allow(clippy::unwrap_used, reason = "tests state what must hold; a panic there is the report")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use stowd_core::content::{Blobs, Commit, WriterOptions};
use stowd_core::digest::Algorithm;
use stowd_core::{Digest, ErrorKind};

fn options(reference: &str) -> WriterOptions {
    WriterOptions { reference: reference.to_owned(), ..WriterOptions::default() }
}

fn data(len: usize, seed: u8) -> Bytes {
    let mut state = u32::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect::<Vec<_>>().into()
}

async fn store(root: &Path) -> Arc<dyn Blobs> {
    stowd_content::open(root).await.unwrap()
}

async fn put(store: &dyn Blobs, key: &str, content: Bytes) -> Digest {
    let mut writer = store.writer(key, options(key)).await.unwrap();
    writer.write(content).await.unwrap();
    writer.commit(Commit::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_written_read_listed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let content = data(3_000_000, 1);
    let digest = Digest::of(&content);

    let mut writer = store.writer("default/1/a", options("a")).await.unwrap();
    for chunk in content.chunks(70_000) {
        writer.write(content.slice_ref(chunk)).await.unwrap();
    }
    assert_eq!(writer.status().offset, 3_000_000);
    assert_eq!(writer.digest(), Some(digest.clone()));
    assert!(store.open(&digest).await.err().unwrap().is_not_found());
    let commit =
        Commit { size: Some(3_000_000), expected: Some(digest.clone()), ..Commit::default() };
    assert_eq!(writer.commit(commit).await.unwrap(), digest);
    drop(writer);

    let blob = store.open(&digest).await.unwrap();
    assert_eq!(blob.size(), 3_000_000);
    assert_eq!(blob.read_at(0, 3_000_000).await.unwrap(), content);
    assert_eq!(blob.read_at(2_999_990, 100).await.unwrap(), content.slice(2_999_990..));
    assert!(blob.read_at(3_000_000, 1).await.unwrap().is_empty());
    assert!(blob.read_at(u64::MAX, 1).await.unwrap().is_empty());
    assert!(blob.file().is_some());

    let path = root.path().join("blobs/sha256").join(digest.hex());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(store.list().await.unwrap(), vec![(digest.clone(), 3_000_000)]);
    assert!(store.ingests().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);

    store.remove(&digest).await.unwrap();
    assert!(store.remove(&digest).await.unwrap_err().is_not_found());
    assert!(store.size(&digest).await.unwrap_err().is_not_found());
    // Whoever has it open keeps it.
    assert_eq!(blob.read_at(5, 10).await.unwrap(), content.slice(5..15));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ingest_on_disk_is_containerds() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let key = "default/7/layer-sha256:abc";
    let with_total = WriterOptions { total: Some(100), ..options("layer-sha256:abc") };
    let mut writer = store.writer(key, with_total).await.unwrap();
    writer.write(Bytes::from_static(b"hello")).await.unwrap();
    drop(writer);
    let dir = root.path().join("ingest").join(Digest::of(key.as_bytes()).hex());
    assert_eq!(fs::read_to_string(dir.join("ref")).unwrap(), key);
    assert_eq!(fs::read_to_string(dir.join("data")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(dir.join("total")).unwrap(), "100");
    for time in ["startedat", "updatedat"] {
        let text = fs::read_to_string(dir.join(time)).unwrap();
        assert!(text.starts_with("20") && text.ends_with('Z'), "{text}");
    }
    // What Go writes in another time zone is understood.
    fs::write(dir.join("startedat"), "2024-05-06T07:08:09.123456789+02:00").unwrap();
    let status = store.status(key).await.unwrap();
    assert_eq!((status.offset, status.total), (5, 100));
    assert_eq!(store.ingests().await.unwrap(), vec![key.to_owned()]);
    store.abort(key).await.unwrap();
    assert!(store.abort(key).await.unwrap_err().is_not_found());
    assert!(store.status(key).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_is_resumed_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let content = data(500_000, 2);
    {
        let store = store(root.path()).await;
        let mut writer = store.writer("k", options("r")).await.unwrap();
        writer.write(content.slice(..200_000)).await.unwrap();
    }
    let store = store(root.path()).await;
    let mut writer = store.writer("k", options("r")).await.unwrap();
    assert_eq!(writer.status().offset, 200_000);
    assert_eq!(writer.status().reference, "r");
    assert_eq!(writer.digest(), Some(Digest::of(&content[..200_000])));
    writer.truncate(150_000).await.unwrap();
    assert_eq!(writer.truncate(150_001).await.unwrap_err().kind(), ErrorKind::OutOfRange);
    writer.write(content.slice(150_000..)).await.unwrap();
    assert_eq!(writer.commit(Commit::default()).await.unwrap(), Digest::of(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_announced_length_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let announced = |total| WriterOptions { total: Some(total), ..options("r") };
    let mut writer = store.writer("k", announced(10)).await.unwrap();
    writer.write(Bytes::from_static(b"abc")).await.unwrap();
    drop(writer);
    let writer = store.writer("k", announced(10)).await.unwrap();
    assert_eq!(writer.status().offset, 3);
    drop(writer);
    let writer = store.writer("k", announced(11)).await.unwrap();
    assert_eq!((writer.status().offset, writer.status().total), (0, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_commit_leaves_the_ingest() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let mut writer = store.writer("k", options("r")).await.unwrap();
    writer.write(Bytes::from_static(b"abc")).await.unwrap();
    let wrong_size = Commit { size: Some(4), ..Commit::default() };
    let error = writer.commit(wrong_size).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("unexpected commit size 3, expected 4"), "{error}");
    let wrong_digest = Commit { expected: Some(Digest::of(b"abd")), ..Commit::default() };
    let error = writer.commit(wrong_digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().starts_with("unexpected commit digest sha256:"), "{error}");
    assert_eq!(store.status("k").await.unwrap().offset, 3);
    let right = Commit { size: Some(3), expected: Some(Digest::of(b"abc")), ..Commit::default() };
    writer.commit(right).await.unwrap();
    assert_eq!(
        writer.commit(Commit::default()).await.unwrap_err().kind(),
        ErrorKind::FailedPrecondition
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_there_is_not_written_again() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let digest = put(&*store, "first", Bytes::from_static(b"same")).await;
    let mut writer = store.writer("second", options("second")).await.unwrap();
    writer.write(Bytes::from_static(b"same")).await.unwrap();
    assert!(writer.commit(Commit::default()).await.unwrap_err().is_already_exists());
    drop(writer);
    assert!(store.status("second").await.unwrap_err().is_not_found());
    let expecting = WriterOptions { expected: Some(digest), ..options("third") };
    assert!(store.writer("third", expecting).await.err().unwrap().is_already_exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_writer() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let writer = store.writer("k", options("r")).await.unwrap();
    let error = store.writer("k", options("r")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("ref k locked for"), "{error}");
    drop(writer);
    store.writer("k", options("r")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_ingest_was_aborted_cannot_commit() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let mut writer = store.writer("k", options("r")).await.unwrap();
    writer.write(Bytes::from_static(b"abc")).await.unwrap();
    store.abort("k").await.unwrap();
    assert_eq!(writer.commit(Commit::default()).await.unwrap_err().kind(), ErrorKind::Aborted);
    drop(writer);
    assert!(store.list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_algorithms_are_verified() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let mut hasher = Algorithm::Sha512.hasher();
    hasher.update(b"long");
    let digest = hasher.digest();
    // Promised at the start: hashed as it comes.
    let promised = WriterOptions { expected: Some(digest.clone()), ..options("a") };
    let mut writer = store.writer("a", promised).await.unwrap();
    writer.write(Bytes::from_static(b"long")).await.unwrap();
    assert_eq!(writer.commit(Commit::default()).await.unwrap(), digest);
    store.remove(&digest).await.unwrap();
    // Demanded at the end: hashed again.
    let mut writer = store.writer("b", options("b")).await.unwrap();
    writer.write(Bytes::from_static(b"long")).await.unwrap();
    let demanded = Commit { expected: Some(digest.clone()), ..Commit::default() };
    assert_eq!(writer.commit(demanded).await.unwrap(), digest);
    assert_eq!(writer.digest(), Some(digest.clone()));
    assert_eq!(store.list().await.unwrap(), vec![(digest, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_given_up_half_way_is_undone() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let content = data(6 << 20, 3);
    let mut writer = store.writer("k", options("r")).await.unwrap();
    writer.write(content.slice(..1 << 20)).await.unwrap();
    for round in 0..20_u64 {
        // Polled once, then dropped: its blocking part may be anywhere.
        let part = content.slice(1 << 20..);
        let write = writer.write(part);
        let wait = std::time::Duration::from_micros(round * 100);
        if tokio::time::timeout(wait, write).await.is_ok() {
            writer.truncate(1 << 20).await.unwrap();
        }
    }
    assert_eq!(writer.status().offset, 1 << 20);
    writer.write(content.slice(1 << 20..)).await.unwrap();
    assert_eq!(writer.commit(Commit::default()).await.unwrap(), Digest::of(&content));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_resumed_or_swept() {
    let root = tempfile::tempdir().unwrap();
    {
        let store = store(root.path()).await;
        for key in ["whole", "no-ref", "no-data", "torn-ref", "no-times"] {
            let mut writer = store.writer(key, options(key)).await.unwrap();
            writer.write(Bytes::from_static(b"abc")).await.unwrap();
        }
    }
    let dir = |key: &str| root.path().join("ingest").join(Digest::of(key.as_bytes()).hex());
    fs::remove_file(dir("no-ref").join("ref")).unwrap();
    fs::remove_file(dir("no-data").join("data")).unwrap();
    fs::write(dir("torn-ref").join("ref"), "torn").unwrap();
    fs::remove_file(dir("no-times").join("startedat")).unwrap();
    let store = store(root.path()).await;
    let mut keys = store.ingests().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["no-times", "whole"]);
    let offsets = [("whole", 3), ("no-times", 0), ("no-ref", 0), ("no-data", 0), ("torn-ref", 0)];
    for (key, offset) in offsets {
        let writer = store.writer(key, options(key)).await.unwrap();
        assert_eq!(writer.status().offset, offset, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            // Half of them write what another one writes too.
            let content = data(10_000 + usize::from(number / 2) * 1000, number / 2);
            let mut writer = store.writer(&format!("k{number}"), options("r")).await.unwrap();
            for chunk in content.chunks(3000) {
                writer.write(content.slice_ref(chunk)).await.unwrap();
            }
            match writer.commit(Commit::default()).await {
                Ok(digest) => assert_eq!(digest, Digest::of(&content)),
                Err(error) => assert!(error.is_already_exists(), "{error}"),
            }
            (Digest::of(&content), content)
        });
    }
    let mut all = HashMap::new();
    while let Some(done) = tasks.join_next().await {
        let (digest, content) = done.unwrap();
        all.insert(digest, content);
    }
    assert_eq!(store.list().await.unwrap().len(), all.len());
    for (digest, content) in all {
        let blob = store.open(&digest).await.unwrap();
        assert_eq!(blob.read_at(0, content.len()).await.unwrap(), content);
    }
    assert!(store.ingests().await.unwrap().is_empty());
}
