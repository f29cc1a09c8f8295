//! Rules of `stowd_core::snapshots`, tried with real mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Commit, Info, Kind, Snapshotter};
use stowd_core::{ErrorKind, Labels, Scope, labels as words};

use super::{Must as _, collect, labels, refused};
use crate::mounts::Mounted;

/// A snapshotter, seen from two namespaces that start empty.
pub struct Subject {
    /// The snapshotter.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// A namespace, under a lease that keeps garbage collection away.
    pub scope: Scope,
    /// Another namespace, likewise.
    pub other: Scope,
    /// A folder for mount points.
    pub folder: PathBuf,
}

super::checks!(Subject:
    prepare_makes_an_active_snapshot,
    commit_makes_a_committed_one_and_frees_the_key,
    view_makes_a_read_only_one,
    a_view_cannot_be_written,
    times_are_set,
    names_are_taken_once,
    a_parent_must_exist,
    a_parent_must_be_committed,
    commit_needs_an_active_snapshot,
    committed_snapshots_have_no_mounts,
    unknown_snapshots_are_not_found,
    a_parent_cannot_be_removed,
    removal_goes_from_the_leaves_down,
    a_removed_key_can_be_used_again,
    removed_changes_are_gone,
    snapshots_belong_to_their_namespace,
    a_prepared_target_that_exists_is_refused,
    labels_are_kept,
    labels_of_the_active_snapshot_end_with_it,
    labels_change_one_by_one,
    labels_change_together,
    update_of_an_unknown_snapshot_is_not_found,
    snapshots_are_listed_in_order_and_by_filter,
    mounts_stay_the_same,
    the_first_tree_is_empty_and_open_to_all,
    a_child_shows_its_parents_files,
    changes_of_a_child_stay_in_the_child,
    siblings_do_not_see_each_other,
    deleted_files_stay_deleted,
    a_removed_folder_comes_back_empty,
    a_file_can_replace_a_folder,
    renamed_files_have_moved,
    permissions_and_owners_are_kept,
    hard_links_are_kept,
    symbolic_links_are_kept,
    extended_attributes_are_kept,
    time_stamps_are_kept,
    a_file_of_a_lower_tree_can_be_changed,
    many_trees_stack,
    usage_counts_what_was_written,
    usage_is_without_parents,
    cleanup_keeps_what_is_used,
);

fn view_of(it: &Subject, name: &str, mounts: &[Mount]) -> Mounted {
    Mounted::at(&it.folder.join(name.replace('/', "_")), mounts)
}

async fn prepare(it: &Subject, key: &str, parent: Option<&str>) -> Vec<Mount> {
    it.snapshotter
        .prepare(&it.scope, key, parent, Labels::new())
        .await
        .must(format_args!("preparing {key}"))
}

async fn commit(it: &Subject, name: &str, key: &str) {
    it.snapshotter
        .commit(&it.scope, name, key, Commit::default())
        .await
        .must(format_args!("committing {key} as {name}"));
}

async fn stat(it: &Subject, key: &str) -> Info {
    it.snapshotter.stat(&it.scope, key).await.must(format_args!("stat of {key}"))
}

/// Makes a committed tree upon another, with what `change` does in it.
async fn layer(it: &Subject, name: &str, parent: Option<&str>, change: impl FnOnce(&Path)) {
    let key = format!("{name}-active");
    let mounts = prepare(it, &key, parent).await;
    let mounted = view_of(it, &key, &mounts);
    change(mounted.path());
    mounted.unmount();
    commit(it, name, &key).await;
}

/// Looks at a committed tree.
async fn look(it: &Subject, name: &str, look: impl FnOnce(&Path)) {
    let key = format!("{name}-look");
    let mounts =
        it.snapshotter.view(&it.scope, &key, Some(name), Labels::new()).await.must("viewing");
    let mounted = view_of(it, &key, &mounts);
    look(mounted.path());
    mounted.unmount();
    it.snapshotter.remove(&it.scope, &key).await.must("removing the view");
}

fn write(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn prepare_makes_an_active_snapshot(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    assert!(!mounts.is_empty(), "no mounts");
    let info = stat(it, "k").await;
    assert_eq!((info.kind, info.name.as_str(), info.parent), (Kind::Active, "k", None));
}

async fn commit_makes_a_committed_one_and_frees_the_key(it: &Subject) {
    prepare(it, "k", None).await;
    commit(it, "n", "k").await;
    let info = stat(it, "n").await;
    assert_eq!((info.kind, info.name.as_str(), info.parent), (Kind::Committed, "n", None));
    refused(it.snapshotter.stat(&it.scope, "k").await, &[ErrorKind::NotFound]);
    prepare(it, "k", Some("n")).await;
    assert_eq!(stat(it, "k").await.parent.as_deref(), Some("n"));
}

async fn view_makes_a_read_only_one(it: &Subject) {
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

async fn a_view_cannot_be_written(it: &Subject) {
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

async fn times_are_set(it: &Subject) {
    let before = SystemTime::now() - std::time::Duration::from_secs(1);
    prepare(it, "k", None).await;
    let active = stat(it, "k").await;
    assert!(active.created >= before && active.updated >= active.created, "{active:?}");
    commit(it, "n", "k").await;
    let committed = stat(it, "n").await;
    assert!(committed.created >= active.created, "{committed:?}");
}

async fn names_are_taken_once(it: &Subject) {
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

async fn a_parent_must_exist(it: &Subject) {
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

async fn a_parent_must_be_committed(it: &Subject) {
    prepare(it, "active", None).await;
    refused(
        it.snapshotter.prepare(&it.scope, "k", Some("active"), Labels::new()).await,
        &[ErrorKind::InvalidArgument],
    );
    refused(it.snapshotter.stat(&it.scope, "k").await, &[ErrorKind::NotFound]);
}

async fn commit_needs_an_active_snapshot(it: &Subject) {
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

async fn committed_snapshots_have_no_mounts(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    refused(
        it.snapshotter.mounts(&it.scope, "n").await,
        &[ErrorKind::FailedPrecondition, ErrorKind::InvalidArgument],
    );
}

async fn unknown_snapshots_are_not_found(it: &Subject) {
    let snapshotter = &it.snapshotter;
    refused(snapshotter.stat(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.mounts(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.usage(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(snapshotter.remove(&it.scope, "x").await, &[ErrorKind::NotFound]);
}

async fn a_parent_cannot_be_removed(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    prepare(it, "k", Some("n")).await;
    refused(it.snapshotter.remove(&it.scope, "n").await, &[ErrorKind::FailedPrecondition]);
    assert_eq!(stat(it, "n").await.kind, Kind::Committed);
}

async fn removal_goes_from_the_leaves_down(it: &Subject) {
    layer(it, "a", None, |_| {}).await;
    layer(it, "b", Some("a"), |_| {}).await;
    prepare(it, "k", Some("b")).await;
    for key in ["k", "b", "a"] {
        it.snapshotter.remove(&it.scope, key).await.must(format_args!("removing {key}"));
        refused(it.snapshotter.stat(&it.scope, key).await, &[ErrorKind::NotFound]);
    }
}

async fn a_removed_key_can_be_used_again(it: &Subject) {
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

async fn removed_changes_are_gone(it: &Subject) {
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

async fn snapshots_belong_to_their_namespace(it: &Subject) {
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

async fn a_prepared_target_that_exists_is_refused(it: &Subject) {
    layer(it, "done", None, |_| {}).await;
    let target = labels([(words::SNAPSHOT_REF, "done")]);
    refused(
        it.snapshotter.prepare(&it.scope, "unpack", None, target).await,
        &[ErrorKind::AlreadyExists],
    );
}

async fn labels_are_kept(it: &Subject) {
    let with = labels([("a", "1"), ("containerd.io/snapshot/x", "2")]);
    it.snapshotter.prepare(&it.scope, "k", None, with.clone()).await.must("preparing");
    assert_eq!(stat(it, "k").await.labels, with);
    let commit = Commit { labels: labels([("b", "3")]), parent: None };
    it.snapshotter.commit(&it.scope, "n", "k", commit).await.must("committing");
    assert_eq!(stat(it, "n").await.labels.get("b").map(String::as_str), Some("3"));
}

async fn labels_of_the_active_snapshot_end_with_it(it: &Subject) {
    let with = labels([("example.org/only-while-active", "1")]);
    it.snapshotter.prepare(&it.scope, "k", None, with).await.must("preparing");
    commit(it, "n", "k").await;
    assert_eq!(stat(it, "n").await.labels, Labels::new());
}

async fn labels_change_one_by_one(it: &Subject) {
    let with = labels([("one", "1"), ("dotted.name/x", "2")]);
    it.snapshotter.prepare(&it.scope, "k", None, with).await.must("preparing");
    let mut info = stat(it, "k").await;
    info.labels = labels([("dotted.name/x", "changed"), ("one", "")]);
    let paths = ["labels.dotted.name/x".to_owned(), "labels.one".to_owned()];
    it.snapshotter.update(&it.scope, info, &paths).await.must("updating");
    assert_eq!(stat(it, "k").await.labels, labels([("dotted.name/x", "changed")]));
}

async fn labels_change_together(it: &Subject) {
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

async fn update_of_an_unknown_snapshot_is_not_found(it: &Subject) {
    prepare(it, "k", None).await;
    let info = Info { name: "x".to_owned(), ..stat(it, "k").await };
    refused(
        it.snapshotter.update(&it.scope, info, &["labels".to_owned()]).await,
        &[ErrorKind::NotFound],
    );
}

async fn snapshots_are_listed_in_order_and_by_filter(it: &Subject) {
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

async fn mounts_stay_the_same(it: &Subject) {
    layer(it, "n", None, |_| {}).await;
    let prepared = prepare(it, "k", Some("n")).await;
    assert_eq!(it.snapshotter.mounts(&it.scope, "k").await.must("mounts"), prepared);
    let viewed =
        it.snapshotter.view(&it.scope, "v", Some("n"), Labels::new()).await.must("viewing");
    assert_eq!(it.snapshotter.mounts(&it.scope, "v").await.must("mounts"), viewed);
}

async fn the_first_tree_is_empty_and_open_to_all(it: &Subject) {
    let mounts = prepare(it, "k", None).await;
    let mounted = view_of(it, "k", &mounts);
    assert_eq!(entries(mounted.path()), [""; 0]);
    let mode = fs::metadata(mounted.path()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o755, "mode of the root folder {mode:o}");
    mounted.unmount();
}

async fn a_child_shows_its_parents_files(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("low"), "from a");
        write(top.join("both"), "from a");
        fs::create_dir(top.join("d")).unwrap();
        write(top.join("d/x"), "from a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        assert_eq!(read(top.join("low")), "from a");
        write(top.join("both"), "from b");
        write(top.join("d/y"), "from b");
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(entries(top), ["both", "d", "low"]);
        assert_eq!(entries(&top.join("d")), ["x", "y"]);
        assert_eq!(read(top.join("low")), "from a");
        assert_eq!(read(top.join("both")), "from b");
    })
    .await;
}

async fn changes_of_a_child_stay_in_the_child(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("kept"), "a");
        write(top.join("gone"), "a");
        fs::create_dir(top.join("d")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        write(top.join("kept"), "b");
        fs::remove_file(top.join("gone")).unwrap();
        fs::remove_dir(top.join("d")).unwrap();
        write(top.join("new"), "b");
    })
    .await;
    look(it, "a", |top| {
        assert_eq!(entries(top), ["d", "gone", "kept"]);
        assert_eq!(read(top.join("kept")), "a");
    })
    .await;
    look(it, "b", |top| assert_eq!(entries(top), ["kept", "new"])).await;
}

async fn siblings_do_not_see_each_other(it: &Subject) {
    layer(it, "a", None, |top| write(top.join("f"), "a")).await;
    let (one, two) = (prepare(it, "one", Some("a")).await, prepare(it, "two", Some("a")).await);
    let (one, two) = (view_of(it, "one", &one), view_of(it, "two", &two));
    write(one.path().join("f"), "one");
    write(one.path().join("g"), "one");
    assert_eq!(read(two.path().join("f")), "a");
    assert_eq!(entries(two.path()), ["f"]);
    one.unmount();
    two.unmount();
}

async fn deleted_files_stay_deleted(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "a");
        write(top.join("g"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| fs::remove_file(top.join("f")).unwrap()).await;
    layer(it, "c", Some("b"), |top| {
        assert_eq!(entries(top), ["g"]);
        write(top.join("h"), "c");
    })
    .await;
    look(it, "c", |top| assert_eq!(entries(top), ["g", "h"])).await;
    layer(it, "d", Some("c"), |top| write(top.join("f"), "again")).await;
    look(it, "d", |top| {
        assert_eq!(entries(top), ["f", "g", "h"]);
        assert_eq!(read(top.join("f")), "again");
    })
    .await;
}

async fn a_removed_folder_comes_back_empty(it: &Subject) {
    layer(it, "a", None, |top| {
        fs::create_dir_all(top.join("d/e")).unwrap();
        write(top.join("d/e/f"), "a");
        write(top.join("d/g"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::remove_dir_all(top.join("d")).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        write(top.join("d/h"), "b");
    })
    .await;
    look(it, "b", |top| assert_eq!(entries(&top.join("d")), ["h"])).await;
    layer(it, "c", Some("b"), |top| write(top.join("d/i"), "c")).await;
    look(it, "c", |top| assert_eq!(entries(&top.join("d")), ["h", "i"])).await;
}

async fn a_file_can_replace_a_folder(it: &Subject) {
    layer(it, "a", None, |top| {
        fs::create_dir(top.join("x")).unwrap();
        write(top.join("x/inside"), "a");
        write(top.join("y"), "a");
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::remove_dir_all(top.join("x")).unwrap();
        write(top.join("x"), "now a file");
        fs::remove_file(top.join("y")).unwrap();
        fs::create_dir(top.join("y")).unwrap();
        write(top.join("y/inside"), "b");
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(read(top.join("x")), "now a file");
        assert_eq!(entries(&top.join("y")), ["inside"]);
    })
    .await;
}

async fn renamed_files_have_moved(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("from"), "moved");
        fs::create_dir(top.join("d")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::rename(top.join("from"), top.join("d/to")).unwrap();
        fs::create_dir(top.join("new")).unwrap();
        fs::rename(top.join("new"), top.join("renamed")).unwrap();
    })
    .await;
    look(it, "b", |top| {
        assert_eq!(entries(top), ["d", "renamed"]);
        assert_eq!(read(top.join("d/to")), "moved");
    })
    .await;
}

async fn permissions_and_owners_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        std::os::unix::fs::chown(top.join("f"), Some(1234), Some(5678)).unwrap();
        fs::set_permissions(top.join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::create_dir(top.join("d")).unwrap();
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| {
        fs::set_permissions(top.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    })
    .await;
    look(it, "b", |top| {
        let file = fs::metadata(top.join("f")).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (1234, 5678, 0o4751));
        assert_eq!(fs::metadata(top.join("d")).unwrap().mode() & 0o7777, 0o700);
    })
    .await;
    look(it, "a", |top| {
        assert_eq!(fs::metadata(top.join("d")).unwrap().mode() & 0o7777, 0o1777);
    })
    .await;
}

async fn hard_links_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        fs::hard_link(top.join("f"), top.join("g")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |_| {}).await;
    look(it, "b", |top| {
        let (f, g) = (fs::metadata(top.join("f")).unwrap(), fs::metadata(top.join("g")).unwrap());
        assert_eq!(f.ino(), g.ino());
        assert_eq!(f.nlink(), 2);
    })
    .await;
}

async fn symbolic_links_are_kept(it: &Subject) {
    layer(it, "a", None, |top| {
        symlink("target", top.join("near")).unwrap();
        symlink("/no/where", top.join("far")).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| fs::remove_file(top.join("far")).unwrap()).await;
    look(it, "b", |top| {
        assert_eq!(fs::read_link(top.join("near")).unwrap(), Path::new("target"));
        assert_eq!(entries(top), ["near"]);
    })
    .await;
}

async fn extended_attributes_are_kept(it: &Subject) {
    // Capabilities of a file are an attribute, and images have them.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        setxattr(top.join("f"), "user.example", b"value", XattrFlags::empty()).unwrap();
        setxattr(top.join("f"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |_| {}).await;
    look(it, "b", |top| {
        let mut value = [0; 32];
        let length = getxattr(top.join("f"), "user.example", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"value");
        let length = getxattr(top.join("f"), "security.capability", &mut value[..]).unwrap();
        assert_eq!(&value[..length], CAPABILITY);
    })
    .await;
}

async fn time_stamps_are_kept(it: &Subject) {
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    layer(it, "a", None, |top| {
        write(top.join("f"), "x");
        fs::File::options().write(true).open(top.join("f")).unwrap().set_modified(time).unwrap();
    })
    .await;
    layer(it, "b", Some("a"), |top| write(top.join("g"), "y")).await;
    look(it, "b", |top| {
        assert_eq!(fs::metadata(top.join("f")).unwrap().modified().unwrap(), time);
    })
    .await;
}

async fn a_file_of_a_lower_tree_can_be_changed(it: &Subject) {
    use std::io::Write as _;
    layer(it, "a", None, |top| write(top.join("log"), "one\n")).await;
    layer(it, "b", Some("a"), |top| {
        let mut file = fs::File::options().append(true).open(top.join("log")).unwrap();
        file.write_all(b"two\n").unwrap();
    })
    .await;
    look(it, "b", |top| assert_eq!(read(top.join("log")), "one\ntwo\n")).await;
    look(it, "a", |top| assert_eq!(read(top.join("log")), "one\n")).await;
}

async fn many_trees_stack(it: &Subject) {
    const DEPTH: usize = 40;
    let mut parent: Option<String> = None;
    for number in 0..DEPTH {
        // As long as real chain ids are: mount options have a limit of one page.
        let name = format!("sha256:{number:064}");
        layer(it, &name, parent.as_deref(), |top| {
            write(top.join(format!("f{number}")), "x");
            write(top.join("last"), &number.to_string());
            if number > 0 {
                fs::remove_file(top.join(format!("f{}", number - 1))).unwrap();
            }
        })
        .await;
        parent = Some(name);
    }
    let top = parent.unwrap_or_default();
    look(it, &top, |top| {
        assert_eq!(entries(top), [format!("f{}", DEPTH - 1), "last".to_owned()]);
        assert_eq!(read(top.join("last")), (DEPTH - 1).to_string());
    })
    .await;
}

async fn usage_counts_what_was_written(it: &Subject) {
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

async fn usage_is_without_parents(it: &Subject) {
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

async fn cleanup_keeps_what_is_used(it: &Subject) {
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
