//! What is told of snapshots: labels, lists, usage.

use std::fs;

use stowd_core::filters::Filters;
use stowd_core::snapshots::{Commit, Info, Kind};
use stowd_core::{ErrorKind, Labels};

use super::super::{Must as _, collect, labels, refused};
use super::{Subject, commit, layer, look, prepare, read, stat, view_of, write};

pub(super) async fn labels_are_kept(it: &Subject) {
    let with = labels([("a", "1"), ("containerd.io/snapshot/x", "2")]);
    it.snapshotter.prepare(&it.scope, "k", None, with.clone()).await.must("preparing");
    assert_eq!(stat(it, "k").await.labels, with);
    let commit = Commit { labels: labels([("b", "3")]), parent: None };
    it.snapshotter.commit(&it.scope, "n", "k", commit).await.must("committing");
    assert_eq!(stat(it, "n").await.labels.get("b").map(String::as_str), Some("3"));
}

pub(super) async fn labels_of_the_active_snapshot_end_with_it(it: &Subject) {
    let with = labels([("example.org/only-while-active", "1")]);
    it.snapshotter.prepare(&it.scope, "k", None, with).await.must("preparing");
    commit(it, "n", "k").await;
    assert_eq!(stat(it, "n").await.labels, Labels::new());
}

pub(super) async fn labels_change_one_by_one(it: &Subject) {
    let with = labels([("one", "1"), ("dotted.name/x", "2")]);
    it.snapshotter.prepare(&it.scope, "k", None, with).await.must("preparing");
    let mut info = stat(it, "k").await;
    info.labels = labels([("dotted.name/x", "changed"), ("one", "")]);
    let paths = ["labels.dotted.name/x".to_owned(), "labels.one".to_owned()];
    it.snapshotter.update(&it.scope, info, &paths).await.must("updating");
    assert_eq!(stat(it, "k").await.labels, labels([("dotted.name/x", "changed")]));
}

pub(super) async fn labels_change_together(it: &Subject) {
    let with = labels([("one", "1")]);
    it.snapshotter.prepare(&it.scope, "k", None, with).await.must("preparing");
    let mut info = stat(it, "k").await;
    info.labels = labels([("two", "2")]);
    let paths = ["labels".to_owned()];
    it.snapshotter.update(&it.scope, info, &paths).await.must("updating");
    let read = stat(it, "k").await;
    assert_eq!(read.labels, labels([("two", "2")]));
    assert_eq!(read.kind, Kind::Active);
}

pub(super) async fn update_of_an_unknown_snapshot_is_not_found(it: &Subject) {
    prepare(it, "k", None).await;
    let info = Info { name: "x".to_owned(), ..stat(it, "k").await };
    refused(
        it.snapshotter.update(&it.scope, info, &["labels".to_owned()]).await,
        &[ErrorKind::NotFound],
    );
}

pub(super) async fn snapshots_are_listed_in_order_and_by_filter(it: &Subject) {
    layer(it, "base", None, |_| {}).await;
    it.snapshotter
        .prepare(&it.scope, "work", Some("base"), labels([("team", "red")]))
        .await
        .must("preparing");
    it.snapshotter
        .view(&it.scope, "look", Some("base"), labels([("team", "blue")]))
        .await
        .must("viewing");
    let list = async |filters: &[&str]| -> Vec<String> {
        let filters = Filters::parse(filters).must("a filter");
        collect(it.snapshotter.list(&it.scope, filters).await.must("listing"))
            .await
            .into_iter()
            .map(|info| info.name)
            .collect()
    };
    assert_eq!(list(&[]).await, ["base", "look", "work"]);
    assert_eq!(list(&["kind==committed"]).await, ["base"]);
    assert_eq!(list(&["kind==active"]).await, ["work"]);
    assert_eq!(list(&["kind==view"]).await, ["look"]);
    assert_eq!(list(&["parent==base"]).await, ["look", "work"]);
    assert_eq!(list(&["name==base", "labels.team==red"]).await, ["base", "work"]);
    assert_eq!(list(&["parent==base,labels.team==blue"]).await, ["look"]);
    let other = it.snapshotter.list(&it.other, Filters::default()).await.must("listing");
    assert_eq!(collect(other).await, []);
}

pub(super) async fn mounts_stay_the_same(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    let prepared = prepare(it, "k", Some("n")).await;
    assert_eq!(it.snapshotter.mounts(&it.scope, "k").await.must("mounts"), prepared);
    let viewed =
        it.snapshotter.view(&it.scope, "v", Some("n"), Labels::new()).await.must("viewing");
    assert_eq!(it.snapshotter.mounts(&it.scope, "v").await.must("mounts"), viewed);
}

pub(super) async fn usage_counts_what_was_written(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    let empty = it.snapshotter.usage(&it.scope, "k").await.must("usage");
    let mounted = view_of(it, "k", &mounts);
    write(mounted.path().join("f"), &"x".repeat(1 << 20));
    fs::create_dir(mounted.path().join("d")).unwrap();
    mounted.unmount();
    let full = it.snapshotter.usage(&it.scope, "k").await.must("usage");
    assert!(full.size >= empty.size + (1 << 20), "{empty:?} {full:?}");
    assert_eq!(full.inodes, empty.inodes + 2, "{empty:?} {full:?}");
    commit(it, "n", "k").await;
    let committed = it.snapshotter.usage(&it.scope, "n").await.must("usage");
    assert_eq!(committed, full);
}

pub(super) async fn usage_is_without_parents(it: &Subject) {
    // Trees that are copied do contain their parents; only those that share can leave them out.
    let mounts = prepare(it, "probe", None).await;
    let shares = mounts.iter().any(|mount| mount.kind == "overlay") || {
        layer(it, "probe-base", None, |_| {}).await;
        prepare(it, "probe-child", Some("probe-base")).await.iter().any(|it| it.kind == "overlay")
    };
    layer(it, "a", None, |top| write(top.join("f"), &"x".repeat(1 << 20))).await;
    layer(it, "b", Some("a"), |top| write(top.join("g"), "y")).await;
    let usage = it.snapshotter.usage(&it.scope, "b").await.must("usage");
    if shares {
        assert!(usage.size < 1 << 20, "{usage:?}");
    }
    assert!(usage.inodes >= 1, "{usage:?}");
}

pub(super) async fn cleanup_keeps_what_is_used(it: &Subject) {
    layer(it, "a", None, |top| write(top.join("f"), "x")).await;
    prepare(it, "gone", Some("a")).await;
    it.snapshotter.remove(&it.scope, "gone").await.must("removing");
    match it.snapshotter.cleanup(&it.scope).await {
        Ok(()) => {}
        // Not every snapshotter has something to clean.
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}"),
    }
    look(it, "a", |top| assert_eq!(read(top.join("f")), "x")).await;
}
