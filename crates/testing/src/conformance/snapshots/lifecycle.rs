//! How snapshots come, change state and go.

use std::fs;
use std::time::SystemTime;

use stowd_core::snapshots::{Commit, Kind};
use stowd_core::{ErrorKind, Labels, labels as words};

use super::super::{Must as _, labels, refused};
use super::{Subject, commit, entries, layer, look, prepare, read, stat, view_of, write};

pub(super) async fn prepare_makes_an_active_snapshot(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    assert!(!mounts.is_empty(), "no mounts");
    let info = stat(it, "k").await;
    assert_eq!((info.kind, info.name.as_str(), info.parent), (Kind::Active, "k", None));
}

pub(super) async fn commit_makes_a_committed_one_and_frees_the_key(it: &Subject) {
    prepare(it, "k", None).await;
    commit(it, "n", "k").await;
    let info = stat(it, "n").await;
    assert_eq!((info.kind, info.name.as_str(), info.parent), (Kind::Committed, "n", None));
    refused(it.snapshotter.stat(&it.scope, "k").await, &[ErrorKind::NotFound]);
    prepare(it, "k", Some("n")).await;
    assert_eq!(stat(it, "k").await.parent.as_deref(), Some("n"));
}

pub(super) async fn view_makes_a_read_only_one(it: &Subject) {
    layer(it, "n", None, |top| write(top.join("f"), "x")).await;
    it.snapshotter.view(&it.scope, "v", Some("n"), Labels::new()).await.must("viewing");
    let info = stat(it, "v").await;
    assert_eq!((info.kind, info.parent.as_deref()), (Kind::View, Some("n")));
    refused(
        it.snapshotter.commit(&it.scope, "m", "v", Commit::default()).await,
        // containerd's native snapshotter stumbles over the view's missing folder first.
        &[ErrorKind::FailedPrecondition, ErrorKind::Unknown],
    );
}

pub(super) async fn a_view_cannot_be_written(it: &Subject) {
    layer(it, "n", None, |top| write(top.join("f"), "x")).await;
    look(it, "n", |top| {
        assert_eq!(read(top.join("f")), "x");
        assert!(fs::write(top.join("g"), "y").is_err(), "wrote into a view");
    })
    .await;
    layer(it, "m", Some("n"), |top| write(top.join("g"), "y")).await;
    look(it, "m", |top| {
        assert!(fs::write(top.join("f"), "z").is_err(), "wrote into a view of two trees");
    })
    .await;
}

pub(super) async fn times_are_set(it: &Subject) {
    let before = SystemTime::now() - std::time::Duration::from_secs(1);
    prepare(it, "k", None).await;
    let active = stat(it, "k").await;
    assert!(active.created >= before && active.updated >= active.created, "{active:?}");
    commit(it, "n", "k").await;
    let committed = stat(it, "n").await;
    assert!(committed.created >= active.created, "{committed:?}");
}

pub(super) async fn names_are_taken_once(it: &Subject) {
    let snapshotter = &it.snapshotter;
    prepare(it, "k", None).await;
    for taken in ["k", "n"] {
        if taken == "n" {
            commit(it, "n", "k").await;
        }
        refused(
            snapshotter.prepare(&it.scope, taken, None, Labels::new()).await,
            &[ErrorKind::AlreadyExists],
        );
        refused(
            snapshotter.view(&it.scope, taken, None, Labels::new()).await,
            &[ErrorKind::AlreadyExists],
        );
    }
    prepare(it, "other", None).await;
    refused(
        snapshotter.commit(&it.scope, "n", "other", Commit::default()).await,
        &[ErrorKind::AlreadyExists],
    );
    assert_eq!(stat(it, "other").await.kind, Kind::Active);
}

pub(super) async fn a_parent_must_exist(it: &Subject) {
    refused(
        it.snapshotter.prepare(&it.scope, "k", Some("x"), Labels::new()).await,
        &[ErrorKind::NotFound],
    );
    refused(
        it.snapshotter.view(&it.scope, "k", Some("x"), Labels::new()).await,
        &[ErrorKind::NotFound],
    );
    refused(it.snapshotter.stat(&it.scope, "k").await, &[ErrorKind::NotFound]);
}

pub(super) async fn a_parent_must_be_committed(it: &Subject) {
    prepare(it, "active", None).await;
    refused(
        it.snapshotter.prepare(&it.scope, "k", Some("active"), Labels::new()).await,
        &[ErrorKind::InvalidArgument],
    );
    refused(it.snapshotter.stat(&it.scope, "k").await, &[ErrorKind::NotFound]);
}

pub(super) async fn commit_needs_an_active_snapshot(it: &Subject) {
    refused(
        it.snapshotter.commit(&it.scope, "n", "x", Commit::default()).await,
        &[ErrorKind::NotFound],
    );
    layer(it, "n", None, |_| {}).await;
    refused(
        it.snapshotter.commit(&it.scope, "m", "n", Commit::default()).await,
        &[ErrorKind::FailedPrecondition],
    );
}

pub(super) async fn committed_snapshots_have_no_mounts(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    refused(
        it.snapshotter.mounts(&it.scope, "n").await,
        &[ErrorKind::FailedPrecondition, ErrorKind::InvalidArgument],
    );
}

pub(super) async fn unknown_snapshots_are_not_found(it: &Subject) {
    let snapshotter = &it.snapshotter;
    refused(snapshotter.stat(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.mounts(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.usage(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.remove(&it.scope, "x").await, &[ErrorKind::NotFound]);
}

pub(super) async fn a_parent_cannot_be_removed(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    prepare(it, "k", Some("n")).await;
    refused(it.snapshotter.remove(&it.scope, "n").await, &[ErrorKind::FailedPrecondition]);
    assert_eq!(stat(it, "n").await.kind, Kind::Committed);
}

pub(super) async fn removal_goes_from_the_leaves_down(it: &Subject) {
    layer(it, "a", None, |_| {}).await;
    layer(it, "b", Some("a"), |_| {}).await;
    prepare(it, "k", Some("b")).await;
    for key in ["k", "b", "a"] {
        it.snapshotter.remove(&it.scope, key).await.must(format_args!("removing {key}"));
        refused(it.snapshotter.stat(&it.scope, key).await, &[ErrorKind::NotFound]);
    }
}

pub(super) async fn a_removed_key_can_be_used_again(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    let mounted = view_of(it, "k", &mounts);
    write(mounted.path().join("f"), "old");
    mounted.unmount();
    it.snapshotter.remove(&it.scope, "k").await.must("removing");
    let mounts = prepare(it, "k", None).await;
    let mounted = view_of(it, "k", &mounts);
    assert_eq!(entries(mounted.path()), [""; 0]);
    mounted.unmount();
}

pub(super) async fn removed_changes_are_gone(it: &Subject) {
    layer(it, "n", None, |top| write(top.join("f"), "x")).await;
    let mounts = prepare(it, "k", Some("n")).await;
    let mounted = view_of(it, "k", &mounts);
    write(mounted.path().join("f"), "changed");
    write(mounted.path().join("g"), "new");
    mounted.unmount();
    it.snapshotter.remove(&it.scope, "k").await.must("removing");
    look(it, "n", |top| {
        assert_eq!(entries(top), ["f"]);
        assert_eq!(read(top.join("f")), "x");
    })
    .await;
}

pub(super) async fn snapshots_belong_to_their_namespace(it: &Subject) {
    layer(it, "n", None, |top| write(top.join("f"), "here")).await;
    refused(it.snapshotter.stat(&it.other, "n").await, &[ErrorKind::NotFound]);
    refused(
        it.snapshotter.prepare(&it.other, "k", Some("n"), Labels::new()).await,
        &[ErrorKind::NotFound],
    );
    let mounts =
        it.snapshotter.prepare(&it.other, "n", None, Labels::new()).await.must("preparing");
    let mounted = view_of(it, "there", &mounts);
    assert_eq!(entries(mounted.path()), [""; 0]);
    mounted.unmount();
    it.snapshotter.remove(&it.scope, "n").await.must("removing");
    it.snapshotter.stat(&it.other, "n").await.must("stat in the other namespace");
}

pub(super) async fn a_prepared_target_that_exists_is_refused(it: &Subject) {
    layer(it, "done", None, |_| {}).await;
    let target = labels([(words::SNAPSHOT_REF, "done")]);
    refused(
        it.snapshotter.prepare(&it.scope, "unpack", None, target).await,
        &[ErrorKind::AlreadyExists],
    );
}
