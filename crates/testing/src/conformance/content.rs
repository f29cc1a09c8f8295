//! Rules of `stowd_core::content`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stowd_core::content::{Commit, Info, Store, WriterOptions};
use stowd_core::filters::Filters;
use stowd_core::{Digest, ErrorKind, Labels, Scope};

use super::{Must as _, collect, eventually, get, labels, open_writer, put, refused};

/// A content store, seen from two namespaces that start empty.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// A namespace, under a lease that keeps garbage collection away.
    pub scope: Scope,
    /// Another namespace, likewise.
    pub other: Scope,
}

super::checks!(Subject:
    a_committed_blob_is_whole,
    an_empty_blob_is_a_blob,
    a_blob_of_many_messages_is_whole,
    commit_without_promises_takes_what_was_written,
    labels_of_the_commit_are_the_blobs,
    times_are_those_of_the_commit,
    an_ingest_is_not_a_blob,
    an_ingest_shows_its_progress,
    an_ingest_survives_its_writer,
    a_continued_ingest_knows_its_digest,
    an_ingest_can_start_over,
    one_writer_at_a_time,
    an_aborted_ingest_is_gone,
    ingests_are_listed_by_filter,
    ingests_belong_to_their_namespace,
    commit_refuses_a_wrong_size,
    commit_refuses_a_wrong_digest,
    a_refused_commit_keeps_the_ingest,
    commit_of_a_known_blob_already_exists,
    opening_for_a_known_blob_already_exists,
    a_writer_needs_a_reference,
    reading_a_range_reads_that_range,
    reading_stops_at_the_end,
    unknown_blobs_are_not_found,
    a_deleted_blob_is_gone,
    an_open_blob_outlives_its_deletion,
    blobs_belong_to_their_namespace,
    a_blob_of_another_namespace_can_be_committed_here,
    labels_change_one_by_one,
    labels_change_together,
    an_empty_value_removes_a_label,
    only_labels_change,
    labels_have_a_limit,
    blobs_are_listed_in_order_and_by_filter,
    a_bad_field_path_is_refused,
);

fn named(reference: &str) -> WriterOptions {
    WriterOptions { reference: reference.to_owned(), ..Default::default() }
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ seed).collect()
}

async fn put_plain(it: &Subject, data: &[u8]) -> Digest {
    put(&*it.store, &it.scope, data, Labels::new()).await
}

async fn a_committed_blob_is_whole(it: &Subject) {
    let data = bytes(100_000, 1);
    let digest = put_plain(it, &data).await;
    assert_eq!(get(&*it.store, &it.scope, &digest).await, data);
    let info = it.store.info(&it.scope, &digest).await.must("info");
    assert_eq!((info.digest, info.size), (digest, 100_000));
}

async fn an_empty_blob_is_a_blob(it: &Subject) {
    let digest = put_plain(it, b"").await;
    assert_eq!(it.store.info(&it.scope, &digest).await.must("info").size, 0);
    assert_eq!(get(&*it.store, &it.scope, &digest).await, b"");
}

async fn a_blob_of_many_messages_is_whole(it: &Subject) {
    let data = bytes(5 << 20, 2);
    let mut writer = open_writer(&*it.store, &it.scope, named("many")).await;
    for chunk in data.chunks(700_001) {
        writer.write(Bytes::copy_from_slice(chunk)).await.must("writing");
    }
    let digest = writer.commit(Commit::default()).await.must("committing");
    assert_eq!(digest, Digest::of(&data));
    assert!(get(&*it.store, &it.scope, &digest).await == data, "what was read differs");
}

async fn commit_without_promises_takes_what_was_written(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("free")).await;
    writer.write(Bytes::from_static(b"as it is")).await.must("writing");
    let digest = writer.commit(Commit::default()).await.must("committing");
    assert_eq!(digest, Digest::of(b"as it is"));
}

async fn labels_of_the_commit_are_the_blobs(it: &Subject) {
    let with = labels([("a", "1"), ("containerd.io/uncompressed", "x")]);
    let digest = put(&*it.store, &it.scope, b"labelled", with.clone()).await;
    assert_eq!(it.store.info(&it.scope, &digest).await.must("info").labels, with);
}

async fn times_are_those_of_the_commit(it: &Subject) {
    let before = SystemTime::now() - Duration::from_secs(1);
    let digest = put_plain(it, b"timed").await;
    let info = it.store.info(&it.scope, &digest).await.must("info");
    let after = SystemTime::now() + Duration::from_secs(1);
    assert!(before <= info.created && info.created <= after, "created {:?}", info.created);
    assert!(info.created <= info.updated, "updated {:?}", info.updated);
}

async fn an_ingest_is_not_a_blob(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("unfinished")).await;
    writer.write(Bytes::from_static(b"unfinished")).await.must("writing");
    let digest = Digest::of(b"unfinished");
    refused(it.store.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.open(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    let listed = collect(it.store.list(&it.scope, Filters::default()).await.must("list")).await;
    assert_eq!(listed, []);
}

async fn an_ingest_shows_its_progress(it: &Subject) {
    let options = WriterOptions {
        reference: "progress".to_owned(),
        total: Some(20),
        expected: Some(Digest::of(&[7; 20])),
    };
    let mut writer = open_writer(&*it.store, &it.scope, options.clone()).await;
    assert_eq!(writer.status().offset, 0);
    writer.write(Bytes::from_static(&[7; 12])).await.must("writing");
    assert_eq!(writer.status().offset, 12);
    let status = it.store.status(&it.scope, "progress").await.must("status");
    assert_eq!(status.reference, "progress");
    assert_eq!((status.offset, status.total), (12, 20));
    assert!(status.started <= status.updated, "{status:?}");
    writer.write(Bytes::from_static(&[7; 8])).await.must("writing");
    writer.commit(Commit { size: Some(20), ..Default::default() }).await.must("committing");
    refused(it.store.status(&it.scope, "progress").await, &[ErrorKind::NotFound]);
}

async fn an_ingest_survives_its_writer(it: &Subject) {
    let data = bytes(300_000, 3);
    let mut writer = open_writer(&*it.store, &it.scope, named("resumed")).await;
    writer.write(Bytes::copy_from_slice(&data[..120_000])).await.must("writing");
    drop(writer);
    let mut writer = open_writer(&*it.store, &it.scope, named("resumed")).await;
    assert_eq!(writer.status().offset, 120_000);
    writer.write(Bytes::copy_from_slice(&data[120_000..])).await.must("writing");
    let commit =
        Commit { size: Some(300_000), expected: Some(Digest::of(&data)), labels: Labels::new() };
    let digest = writer.commit(commit).await.must("committing");
    assert_eq!(get(&*it.store, &it.scope, &digest).await, data);
}

async fn a_continued_ingest_knows_its_digest(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("hash")).await;
    writer.write(Bytes::from_static(b"one ")).await.must("writing");
    drop(writer);
    let mut writer = open_writer(&*it.store, &it.scope, named("hash")).await;
    writer.write(Bytes::from_static(b"two")).await.must("writing");
    if let Some(digest) = writer.digest() {
        assert_eq!(digest, Digest::of(b"one two"));
    }
    let digest = writer.commit(Commit::default()).await.must("committing");
    assert_eq!(digest, Digest::of(b"one two"));
}

async fn an_ingest_can_start_over(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("again")).await;
    writer.write(Bytes::from_static(b"a false start, and a long one")).await.must("writing");
    writer.truncate(0).await.must("truncating");
    writer.write(Bytes::from_static(b"right")).await.must("writing");
    assert_eq!(writer.status().offset, 5);
    let digest = writer.commit(Commit { size: Some(5), ..Default::default() }).await;
    assert_eq!(digest.must("committing"), Digest::of(b"right"));
}

async fn one_writer_at_a_time(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("held")).await;
    writer.write(Bytes::from_static(b"x")).await.must("writing");
    refused(it.store.writer(&it.scope, named("held")).await, &[ErrorKind::Unavailable]);
    drop(writer);
    let writer = open_writer(&*it.store, &it.scope, named("held")).await;
    assert_eq!(writer.status().offset, 1);
}

async fn an_aborted_ingest_is_gone(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("dropped")).await;
    writer.write(Bytes::from_static(b"overboard")).await.must("writing");
    drop(writer);
    it.store.abort(&it.scope, "dropped").await.must("aborting");
    refused(it.store.status(&it.scope, "dropped").await, &[ErrorKind::NotFound]);
    refused(it.store.abort(&it.scope, "dropped").await, &[ErrorKind::NotFound]);
    let writer = open_writer(&*it.store, &it.scope, named("dropped")).await;
    assert_eq!(writer.status().offset, 0);
}

async fn ingests_are_listed_by_filter(it: &Subject) {
    let mut writers = Vec::new();
    for name in ["layer-a", "layer-b", "config-a"] {
        let mut writer = open_writer(&*it.store, &it.scope, named(name)).await;
        writer.write(Bytes::from_static(b"x")).await.must("writing");
        writers.push(writer);
    }
    let all = it.store.statuses(&it.scope, &Filters::default()).await.must("listing");
    assert_eq!(all.len(), 3, "{all:?}");
    let filters = Filters::parse(&["ref~=^layer-"]).must("a filter");
    let mut names: Vec<String> = it
        .store
        .statuses(&it.scope, &filters)
        .await
        .must("listing")
        .into_iter()
        .map(|status| status.reference)
        .collect();
    names.sort();
    assert_eq!(names, ["layer-a", "layer-b"]);
}

async fn ingests_belong_to_their_namespace(it: &Subject) {
    let mut here = open_writer(&*it.store, &it.scope, named("same")).await;
    let mut there = open_writer(&*it.store, &it.other, named("same")).await;
    here.write(Bytes::from_static(b"here")).await.must("writing");
    there.write(Bytes::from_static(b"over there")).await.must("writing");
    assert_eq!(it.store.status(&it.scope, "same").await.must("status").offset, 4);
    assert_eq!(it.store.status(&it.other, "same").await.must("status").offset, 10);
    here.commit(Commit::default()).await.must("committing");
    refused(it.store.status(&it.scope, "same").await, &[ErrorKind::NotFound]);
    assert_eq!(it.store.status(&it.other, "same").await.must("status").offset, 10);
}

async fn commit_refuses_a_wrong_size(it: &Subject) {
    for size in [3, 5] {
        let mut writer = open_writer(&*it.store, &it.scope, named(&format!("size-{size}"))).await;
        writer.write(Bytes::from_static(b"four")).await.must("writing");
        let commit = Commit { size: Some(size), ..Default::default() };
        refused(
            writer.commit(commit).await,
            &[ErrorKind::FailedPrecondition, ErrorKind::InvalidArgument, ErrorKind::OutOfRange],
        );
    }
    refused(it.store.info(&it.scope, &Digest::of(b"four")).await, &[ErrorKind::NotFound]);
}

async fn commit_refuses_a_wrong_digest(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("digest")).await;
    writer.write(Bytes::from_static(b"what is")).await.must("writing");
    let promised = Digest::of(b"what was promised");
    let commit = Commit { expected: Some(promised.clone()), ..Default::default() };
    refused(writer.commit(commit).await, &[ErrorKind::FailedPrecondition]);
    refused(it.store.info(&it.scope, &promised).await, &[ErrorKind::NotFound]);
    refused(it.store.info(&it.scope, &Digest::of(b"what is")).await, &[ErrorKind::NotFound]);
}

async fn a_refused_commit_keeps_the_ingest(it: &Subject) {
    let mut writer = open_writer(&*it.store, &it.scope, named("kept")).await;
    writer.write(Bytes::from_static(b"kept")).await.must("writing");
    let wrong = Commit { expected: Some(Digest::of(b"other")), ..Default::default() };
    refused(writer.commit(wrong).await, &[ErrorKind::FailedPrecondition]);
    drop(writer);
    let mut writer = open_writer(&*it.store, &it.scope, named("kept")).await;
    assert_eq!(writer.status().offset, 4);
    let digest = writer.commit(Commit { size: Some(4), ..Default::default() }).await;
    assert_eq!(digest.must("committing"), Digest::of(b"kept"));
}

async fn commit_of_a_known_blob_already_exists(it: &Subject) {
    put_plain(it, b"known").await;
    let mut writer = open_writer(&*it.store, &it.scope, named("second")).await;
    writer.write(Bytes::from_static(b"known")).await.must("writing");
    // Who is told that it exists still learns what it is.
    assert_eq!(writer.digest(), Some(Digest::of(b"known")));
    refused(writer.commit(Commit::default()).await, &[ErrorKind::AlreadyExists]);
}

async fn opening_for_a_known_blob_already_exists(it: &Subject) {
    let digest = put_plain(it, b"known before").await;
    let options =
        WriterOptions { reference: "known".to_owned(), total: Some(12), expected: Some(digest) };
    refused(it.store.writer(&it.scope, options).await, &[ErrorKind::AlreadyExists]);
}

async fn a_writer_needs_a_reference(it: &Subject) {
    refused(it.store.writer(&it.scope, named("")).await, &[ErrorKind::InvalidArgument]);
}

async fn reading_a_range_reads_that_range(it: &Subject) {
    let data = bytes(3 << 20, 5);
    let digest = put_plain(it, &data).await;
    let blob = it.store.open(&it.scope, &digest).await.must("opening");
    assert_eq!(blob.size(), data.len() as u64);
    for (offset, length) in [(0, 1), (1, 10), (1 << 20, 4096), (data.len() - 5, 5)] {
        let piece = blob.read_at(offset as u64, length).await.must("reading");
        assert_eq!(piece, data[offset..offset + length], "{length} bytes at {offset}");
    }
}

async fn reading_stops_at_the_end(it: &Subject) {
    let digest = put_plain(it, b"0123456789").await;
    let blob = it.store.open(&it.scope, &digest).await.must("opening");
    assert_eq!(blob.read_at(7, 100).await.must("reading"), "789");
    assert_eq!(blob.read_at(10, 100).await.must("reading"), "");
}

async fn unknown_blobs_are_not_found(it: &Subject) {
    let digest = Digest::of(b"never stored");
    refused(it.store.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.open(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.delete(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    let info = Info {
        digest,
        size: 0,
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
        labels: labels([("a", "b")]),
    };
    refused(it.store.update(&it.scope, info, &[]).await, &[ErrorKind::NotFound]);
    refused(it.store.status(&it.scope, "never opened").await, &[ErrorKind::NotFound]);
}

async fn a_deleted_blob_is_gone(it: &Subject) {
    let digest = put_plain(it, b"short-lived").await;
    it.store.delete(&it.scope, &digest).await.must("deleting");
    refused(it.store.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.open(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    put_plain(it, b"short-lived").await;
    it.store.info(&it.scope, &digest).await.must("info of the blob stored again");
}

async fn an_open_blob_outlives_its_deletion(it: &Subject) {
    let data = bytes(100_000, 6);
    let digest = put_plain(it, &data).await;
    let blob = it.store.open(&it.scope, &digest).await.must("opening");
    assert_eq!(blob.read_at(0, 10).await.must("reading"), data[..10]);
    it.store.delete(&it.scope, &digest).await.must("deleting");
    // Over a socket a blob is not held open: it may be gone, but never half there.
    match blob.read_at(50_000, 10).await {
        Ok(piece) => assert_eq!(piece, data[50_000..50_010]),
        Err(error) => assert!(error.is_not_found(), "{error}"),
    }
}

async fn blobs_belong_to_their_namespace(it: &Subject) {
    let digest = put(&*it.store, &it.scope, b"mine", labels([("whose", "mine")])).await;
    refused(it.store.info(&it.other, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.open(&it.other, &digest).await, &[ErrorKind::NotFound]);
    refused(it.store.delete(&it.other, &digest).await, &[ErrorKind::NotFound]);
    put(&*it.store, &it.other, b"mine", labels([("whose", "theirs")])).await;
    let info = it.store.info(&it.scope, &digest).await.must("info");
    assert_eq!(info.labels, labels([("whose", "mine")]));
    it.store.delete(&it.scope, &digest).await.must("deleting");
    assert_eq!(get(&*it.store, &it.other, &digest).await, b"mine");
}

async fn a_blob_of_another_namespace_can_be_committed_here(it: &Subject) {
    let data = bytes(10_000, 7);
    let digest = put(&*it.store, &it.other, &data, Labels::new()).await;
    let options = WriterOptions {
        reference: "shared".to_owned(),
        total: Some(data.len() as u64),
        expected: Some(digest.clone()),
    };
    let mut writer = open_writer(&*it.store, &it.scope, options).await;
    // A store that shares bytes may say that they are all there; then nothing is left to write.
    let from = writer.status().offset as usize;
    if from < data.len() {
        writer.write(Bytes::copy_from_slice(&data[from..])).await.must("writing");
    }
    let commit = Commit {
        size: Some(data.len() as u64),
        expected: Some(digest.clone()),
        labels: Labels::new(),
    };
    assert_eq!(writer.commit(commit).await.must("committing"), digest);
    assert_eq!(get(&*it.store, &it.scope, &digest).await, data);
}

async fn labelled(it: &Subject) -> Info {
    let digest = put(&*it.store, &it.scope, b"labels", labels([("a", "1"), ("b.c/d", "2")])).await;
    it.store.info(&it.scope, &digest).await.must("info")
}

async fn labels_change_one_by_one(it: &Subject) {
    let mut info = labelled(it).await;
    info.labels = labels([("a", "new"), ("b.c/d", "ignored"), ("z", "3")]);
    let paths = ["labels.a".to_owned(), "labels.z".to_owned()];
    let updated = it.store.update(&it.scope, info.clone(), &paths).await.must("updating");
    let expected = labels([("a", "new"), ("b.c/d", "2"), ("z", "3")]);
    assert_eq!(updated.labels, expected);
    let read = it.store.info(&it.scope, &info.digest).await.must("info");
    assert_eq!(read.labels, expected);
    assert_eq!(read.created, info.created);
    assert!(read.updated >= info.updated);
}

async fn labels_change_together(it: &Subject) {
    for paths in [vec![], vec!["labels".to_owned()]] {
        let mut info = labelled(it).await;
        info.labels = labels([("only", "this")]);
        let updated = it.store.update(&it.scope, info.clone(), &paths).await.must("updating");
        assert_eq!(updated.labels, labels([("only", "this")]), "field paths {paths:?}");
        it.store.delete(&it.scope, &info.digest).await.must("deleting");
    }
}

async fn an_empty_value_removes_a_label(it: &Subject) {
    let mut info = labelled(it).await;
    info.labels = labels([("a", "")]);
    it.store.update(&it.scope, info.clone(), &["labels.a".to_owned()]).await.must("updating");
    let read = it.store.info(&it.scope, &info.digest).await.must("info");
    assert_eq!(read.labels, labels([("b.c/d", "2")]));
}

async fn only_labels_change(it: &Subject) {
    let info = labelled(it).await;
    let mut changed = info.clone();
    changed.size = 4711;
    it.store.update(&it.scope, changed, &["labels".to_owned()]).await.must("updating");
    let read = it.store.info(&it.scope, &info.digest).await.must("info");
    assert_eq!((read.size, read.created), (info.size, info.created));
}

async fn labels_have_a_limit(it: &Subject) {
    let mut info = labelled(it).await;
    let long = "x".repeat(4096);
    info.labels = labels([("long", &long)]);
    refused(it.store.update(&it.scope, info, &[]).await, &[ErrorKind::InvalidArgument]);
    let mut writer = open_writer(&*it.store, &it.scope, named("long")).await;
    writer.write(Bytes::from_static(b"long label")).await.must("writing");
    let commit = Commit { labels: labels([("long", &long)]), ..Default::default() };
    refused(writer.commit(commit).await, &[ErrorKind::InvalidArgument]);
}

async fn blobs_are_listed_in_order_and_by_filter(it: &Subject) {
    let mut all = Vec::new();
    for number in 0..20 {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let data = format!("blob {number}");
        let digest = put(&*it.store, &it.scope, data.as_bytes(), labels([("is", parity)])).await;
        all.push((digest, parity));
    }
    all.sort();
    let list = async |filters: &[&str]| -> Vec<Digest> {
        let filters = Filters::parse(filters).must("a filter");
        collect(it.store.list(&it.scope, filters).await.must("listing"))
            .await
            .into_iter()
            .map(|info| info.digest)
            .collect()
    };
    let expected = |wanted: &dyn Fn(&str) -> bool| -> Vec<Digest> {
        all.iter().filter(|(_, it)| wanted(it)).map(|(digest, _)| digest.clone()).collect()
    };
    assert_eq!(list(&[]).await, expected(&|_| true));
    assert_eq!(list(&["labels.is==even"]).await, expected(&|it| it == "even"));
    assert_eq!(list(&["labels.is==even", "labels.is==odd"]).await, expected(&|_| true));
    assert_eq!(list(&["labels.is==even,labels.is==odd"]).await, []);
    let one = &all[3].0;
    assert_eq!(list(&[&format!("digest=={one}")]).await, std::slice::from_ref(one));
    eventually("another namespace's list stays empty", || async {
        let other = it.store.list(&it.other, Filters::default()).await.must("listing");
        collect(other).await.is_empty()
    })
    .await;
}

async fn a_bad_field_path_is_refused(it: &Subject) {
    let info = labelled(it).await;
    refused(
        it.store.update(&it.scope, info, &["size".to_owned()]).await,
        &[ErrorKind::InvalidArgument],
    );
}
