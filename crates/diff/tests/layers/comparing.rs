//! What a comparison leaves in the content store.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use stowd_core::content::WriterOptions;
use stowd_core::descriptor::media_type;
use stowd_core::diff::{Compare, Comparer as _, Placement};
use stowd_core::filters::Filters;
use stowd_core::{ErrorKind, labels};
use stowd_testing::process::Run;

use crate::bench::{Bench, bind, names};
use crate::tree::{describe, set_time};

fn some_tree(bench: &Bench) -> PathBuf {
    let top = bench.folder("tree");
    fs::create_dir_all(top.join("d/e")).unwrap();
    fs::write(top.join("d/e/f"), vec![b'x'; 300_000]).unwrap();
    fs::write(top.join("early"), "e").unwrap();
    symlink("d/e/f", top.join("link")).unwrap();
    for (name, seconds) in [("d/e/f", 2_000_000_000), ("early", 1000), ("link", 2_000_000_000)] {
        set_time(&top.join(name), seconds, 999_999_999);
    }
    top
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_trees_make_the_same_bytes() {
    let bench = Bench::new().await;
    let tree = bind(&some_tree(&bench));
    let scope = bench.scope().await;
    for media_type in ["", media_type::LAYER, media_type::LAYER_ZSTD, media_type::DOCKER_LAYER_GZIP]
    {
        let ask = Compare { media_type: media_type.to_owned(), ..Compare::default() };
        let one = bench.walking.compare(&scope, &[], &tree, ask.clone()).await.unwrap();
        // The second time the blob is there.
        let other = bench.walking.compare(&scope, &[], &tree, ask).await.unwrap();
        assert_eq!(one, other);
        let info = bench.content().info(&scope, &one.digest).await.unwrap();
        assert_eq!(info.size, one.size);
        let diff_id = &info.labels[labels::UNCOMPRESSED];
        let copy = bench.folder(&format!("copy-{}", one.digest.hex()));
        let data = bench.fetch(&scope, &one).await.unwrap();
        let on_parents = Placement::OnParents;
        let applied = bench.apply(&bind(&copy), on_parents, &one.media_type, data).await.unwrap();
        assert_eq!(applied.digest.as_str(), diff_id, "{media_type}");
        assert_eq!(describe(&copy), describe(&bench.folder("tree")));
        fs::remove_dir_all(copy).unwrap();
    }
    let left = bench.content().statuses(&scope, &Filters::default()).await.unwrap();
    assert_eq!(left, [], "ingests are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_can_expand_what_was_compressed() {
    let bench = Bench::new().await;
    let tree = bind(&some_tree(&bench));
    let plain = bench.compare(&[], &tree).await.unwrap();
    let scope = bench.scope().await;
    let layer = bench.walking.compare(&scope, &[], &tree, Compare::default()).await.unwrap();
    let data = bench.fetch(&scope, &layer).await.unwrap();
    assert_eq!(data[4..8], [0; 4], "a time in the header");
    let (packed, tar) = (bench.folder("gz").join("layer.gz"), bench.folder("gz").join("layer"));
    fs::write(&packed, data).unwrap();
    Run::program("gzip").args(["-d", packed.to_str().unwrap()]).ok();
    assert!(fs::read(tar).unwrap() == plain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_time_is_later_than_the_epoch_asked_for() {
    let bench = Bench::new().await;
    let top = some_tree(&bench);
    let scope = bench.scope().await;
    let ask = Compare {
        media_type: media_type::LAYER.to_owned(),
        source_date_epoch: Some(UNIX_EPOCH + Duration::from_millis(1_500_000_000_700)),
        ..Compare::default()
    };
    let layer = bench.walking.compare(&scope, &[], &bind(&top), ask.clone()).await.unwrap();
    let archive = bench.folder("out").join("layer.tar");
    fs::write(&archive, bench.fetch(&scope, &layer).await.unwrap()).unwrap();
    let list = ["--utc", "--full-time", "-tvf", archive.to_str().unwrap()];
    let listed = Run::program("tar").args(list).ok();
    let times: Vec<&str> =
        listed.lines().map(|line| line.split_whitespace().nth(4).unwrap()).collect();
    assert_eq!(times, ["02:40:00", "02:40:00", "02:40:00", "00:16:40", "02:40:00"], "{listed}");

    let empty = bench.folder("empty");
    let layer = bench.walking.compare(&scope, &bind(&top), &bind(&empty), ask).await.unwrap();
    fs::write(&archive, bench.fetch(&scope, &layer).await.unwrap()).unwrap();
    let listed = Run::program("tar").args(list).ok();
    assert!(listed.lines().all(|line| line.contains("1970-01-01 00:00:00 .wh.")), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_ingest_begins_anew() {
    let bench = Bench::new().await;
    let tree = bind(&some_tree(&bench));
    let scope = bench.scope().await;
    let options = WriterOptions { reference: "mine".to_owned(), ..WriterOptions::default() };
    let content = bench.content();
    let mut writer = content.writer(&scope, options).await.unwrap();
    writer.write(Bytes::from_static(b"left by an earlier try")).await.unwrap();
    let ask = Compare { reference: "mine".to_owned(), ..Compare::default() };
    let busy = bench.walking.compare(&scope, &[], &tree, ask.clone()).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Unavailable, "{busy}");
    drop(writer);
    bench.walking.compare(&scope, &[], &tree, ask).await.unwrap();
    content.status(&scope, "mine").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_leave_nothing() {
    stowd_testing::need!(root);
    let bench = Bench::new().await;
    let scope = bench.scope().await;
    let top = some_tree(&bench);
    let unknown = Compare { media_type: "text/plain".to_owned(), ..Compare::default() };
    let error = bench.walking.compare(&scope, &[], &bind(&top), unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
    assert!(error.message().contains("unsupported diff media type: text/plain"), "{error}");
    let nowhere = bind(&top.join("no-such-folder"));
    bench.walking.compare(&scope, &[], &nowhere, Compare::default()).await.unwrap_err();
    // A file that says that it is longer than it is.
    let lying = bind(std::path::Path::new("/sys/kernel/mm"));
    bench.walking.compare(&scope, &[], &lying, Compare::default()).await.unwrap_err();
    let left = bench.content().statuses(&scope, &Filters::default()).await.unwrap();
    assert_eq!(left, [], "ingests are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_works_for_a_caller_that_went_away() {
    let bench = Bench::new().await;
    let top = bench.folder("big");
    for number in 0..64 {
        let file = fs::File::create(top.join(number.to_string())).unwrap();
        file.set_len(1 << 30).unwrap();
    }
    let walking = bench.walking.clone();
    let scope = bench.scope().await;
    let tree = bind(&top);
    let task =
        tokio::spawn(async move { walking.compare(&scope, &[], &tree, Compare::default()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    task.abort();
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("layer-compress")).count()
    };
    for _ in 0..200 {
        if threads() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("threads go on comparing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_mean_something_else_in_layers_are_left_out() {
    let bench = Bench::new().await;
    let top = bench.folder("tree");
    fs::write(top.join(".wh.etc"), "no whiteout").unwrap();
    fs::write(top.join("a.wh.b"), "fine").unwrap();
    assert_eq!(names(&bench.compare(&[], &bind(&top)).await.unwrap()), ["a.wh.b"]);
}
