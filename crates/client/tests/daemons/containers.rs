//! Containers as records.

use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Error, ErrorKind, Labels};

use crate::Rig;

crate::on_both!(
    a_container_is_made_found_and_deleted,
    a_taken_id_is_refused,
    a_failed_creation_leaves_nothing,
    a_snapshot_can_be_kept,
    users_are_looked_up_in_the_containers_files,
);

async fn a_container_is_made_found_and_deleted(rig: &Rig) {
    let labels = Labels::from([("a".to_owned(), "1".to_owned())]);
    let made = rig.shell("c", "true").await.labels(labels).create().await.unwrap();
    let mut found = rig.client.container("c").await.unwrap();
    assert_eq!(found.record(), made.record());
    assert_eq!(found.record().runtime.name, "io.containerd.runc.v2");
    assert_eq!(found.record().snapshotter, "overlayfs");
    assert_eq!(found.stop_signal(), Some("SIGTERM"));
    assert_eq!(found.spec().unwrap().process.unwrap().args, ["sh", "-c", "true"]);
    assert_eq!(found.root_mounts().await.unwrap(), made.root_mounts().await.unwrap());
    let change = Labels::from([("a".into(), String::new()), ("b".into(), "2".into())]);
    let labels = found.set_labels(change).await.unwrap();
    assert_eq!((labels.get("a"), labels.get("b").map(String::as_str)), (None, Some("2")));
    let error = found.task().await.unwrap_err();
    assert!(error.to_string().starts_with("no running task found: "), "{error}");
    assert!(error.is_not_found());
    found.delete_with_snapshot().await.unwrap();
    rig.nothing_is_left().await;
    assert!(rig.client.container("c").await.unwrap_err().is_not_found());
}

async fn a_taken_id_is_refused(rig: &Rig) {
    let first = rig.shell("c", "true").await.create().await.unwrap();
    let error = rig.shell("c", "true").await.create().await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    // The first is as it was.
    let snapshots = rig.client.connection().snapshotter("overlayfs");
    snapshots.stat(rig.client.scope(), "c").await.unwrap();
    first.remove().await.unwrap();
    rig.nothing_is_left().await;
}

async fn a_failed_creation_leaves_nothing(rig: &Rig) {
    let fails = |_: &mut _, _: &dyn stowd_client::spec::RootFiles| Err(Error::invalid("no"));
    let error = rig.shell("c", "true").await.adjust(fails).create().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    rig.nothing_is_left().await;
    // A record that the daemon refuses comes after the snapshot, too.
    let label = Labels::from([("x".repeat(5000), String::from("y"))]);
    rig.shell("d", "true").await.labels(label).create().await.unwrap_err();
    rig.nothing_is_left().await;
    let image = rig.client.image(crate::IMAGE).await.unwrap();
    let made = rig.client.new_container("c").image(&image).snapshotter("absent").create().await;
    made.unwrap_err();
    rig.nothing_is_left().await;
}

async fn a_snapshot_can_be_kept(rig: &Rig) {
    // Without its container, only a label protects it from garbage collection.
    let root = Labels::from([("containerd.io/gc.root".to_owned(), "yes".to_owned())]);
    let container = rig.shell("c", "true").await.snapshot_labels(root).create().await.unwrap();
    container.delete().await.unwrap();
    let snapshots = rig.client.connection().snapshotter("overlayfs");
    snapshots.remove(rig.client.scope(), "c").await.unwrap();
    rig.nothing_is_left().await;
}

async fn users_are_looked_up_in_the_containers_files(rig: &Rig) {
    let container = rig.shell("c", "true").await.create().await.unwrap();
    let mut spec = container.spec().unwrap();
    container.set_user(&mut spec, "1000:7").await.unwrap();
    let user = spec.process.as_ref().unwrap().user.clone();
    assert_eq!((user.uid, user.gid), (1000, 7));
    let error = container.set_user(&mut spec, "nobody-of-that-name").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    container.remove().await.unwrap();
}
