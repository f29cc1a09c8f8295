//! Making mounts under a name, and undoing them.

use std::fs;

use super::*;
use crate::conformance::eventually;
use crate::mounts::Mounted;

pub(super) async fn what_the_caller_can_mount_is_not_activated(it: &Subject) {
    let bind = || mount("bind", &it.folder, &["rbind"]);
    let overlay = || mount("overlay", "overlay", &["lowerdir=/a:/b"]);
    for mounts in [vec![], vec![bind()], vec![bind(), overlay()]] {
        let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
        refused(activated, &[ErrorKind::NotImplemented]);
    }
    let activated = it.mounts.activate(&it.scope, "a", vec![], temporary()).await;
    refused(activated, &[ErrorKind::NotImplemented]);
    assert!(!it.is_active("a").await);
}

pub(super) async fn an_activation_needs_a_name(it: &Subject) {
    let mounts = vec![mount("bind", &it.folder, &["rbind"])];
    let activated = it.mounts.activate(&it.scope, "", mounts, temporary()).await;
    // containerd's database refuses it, in its own words.
    refused(activated, &[ErrorKind::InvalidArgument, ErrorKind::Unknown]);
}

pub(super) async fn all_mounts_are_made_for_a_temporary_one(it: &Subject) {
    let (one, two) = (it.source("one"), it.source("two"));
    let lower = format!("lowerdir={}:{}", two.display(), one.display());
    let mounts =
        vec![mount("bind", &one, &["rbind", "ro"]), mount("overlay", "overlay", &[lower.as_str()])];
    let made = it.mounts.activate(&it.scope, "a", mounts.clone(), temporary()).await.must("it");
    assert_eq!(made.name, "a");
    let of: Vec<_> = made.active.iter().map(|active| active.mount.clone()).collect();
    assert_eq!(of, mounts);
    assert!(made.active.iter().all(|active| active.mounted.is_some()));
    assert_eq!(made.system, [mount("bind", &made.active[1].point, &["rbind"])]);
    assert_eq!(fs::read_to_string(format!("{}/one", made.active[0].point)).unwrap(), "one");
    assert!(fs::write(format!("{}/one", made.active[0].point), "x").is_err());
    let mounted = Mounted::at(&it.folder.join("target"), &made.system);
    assert_eq!(fs::read_to_string(mounted.path().join("one")).unwrap(), "one");
    assert_eq!(fs::read_to_string(mounted.path().join("two")).unwrap(), "two");
    mounted.unmount();
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    assert_eq!(it.mounted(), 0);
}

pub(super) async fn mounts_behind_the_last_needed_one_are_left_to_the_caller(it: &Subject) {
    let one = it.source("one");
    let mounts = vec![
        mount("bind", &one, &["rbind"]),
        mount("format/bind", "{{ mount 0 }}", &["rbind"]),
        mount("bind", &one, &["rbind", "ro"]),
    ];
    let made = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await.must("it");
    assert_eq!(made.active.len(), 1);
    let point = &made.active[0].point;
    assert_eq!(
        made.system,
        [mount("bind", point, &["rbind"]), mount("bind", &one, &["rbind", "ro"])]
    );
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    // Nothing but the filling in has to be done.
    let mounts = vec![mount("format/bind", &one, &["rbind"])];
    let made = it.mounts.activate(&it.scope, "b", mounts, Options::default()).await.must("it");
    assert_eq!((made.active.len(), made.system), (0, vec![mount("bind", &one, &["rbind"])]));
    it.mounts.deactivate(&it.scope, "b").await.must("deactivating");
}

pub(super) async fn loop_devices_live_as_long_as_their_activation(it: &Subject) {
    let image = it.folder.join("image");
    let mounts = vec![
        mount("mkfs/loop", &image, &["X-containerd.mkfs.size=16MiB"]),
        mount("format/ext4", "{{ mount 0 }}", &[]),
    ];
    for round in 0..2 {
        let made = it.mounts.activate(&it.scope, "a", mounts.clone(), Options::default()).await;
        let made = made.must("activating a loop device");
        let point = &made.active[0].point;
        assert_eq!(made.active[0].mount, mount("loop", &image, &[]));
        assert_eq!(made.system, [mount("ext4", point, &[])]);
        assert!(fs::read_link(point).unwrap().starts_with("/dev"));
        assert_eq!(it.devices(), 1);
        let mounted = Mounted::at(&it.folder.join("target"), &made.system);
        let file = mounted.path().join("file");
        if round == 0 {
            fs::write(&file, "kept").unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        mounted.unmount();
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
        // The device is freed by its last user, which may be whoever just looked at it.
        eventually("the loop device is free", async || it.devices() == 0).await;
    }
}

pub(super) async fn a_name_is_taken_once(it: &Subject) {
    it.bind(&it.scope, "a", temporary()).await;
    let again = vec![mount("bind", &it.folder, &["rbind"])];
    let activated = it.mounts.activate(&it.scope, "a", again, temporary()).await;
    refused(activated, &[ErrorKind::AlreadyExists]);
    let kept = it.mounts.info(&it.scope, "a").await.must("the first one");
    assert!(std::path::Path::new(&kept.active[0].point).join("a").exists());
    // Whether there is something to do is asked first.
    let activated = it.mounts.activate(&it.scope, "a", vec![], temporary()).await;
    refused(activated, &[ErrorKind::NotImplemented]);
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
}

pub(super) async fn of_many_at_once_one_gets_the_name(it: &Subject) {
    let source = it.source("a");
    let all = futures_util::future::join_all((0..8).map(|_| {
        let mounts = vec![mount("bind", &source, &["rbind"])];
        it.mounts.activate(&it.scope, "a", mounts, temporary())
    }))
    .await;
    let (made, failed): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for one in failed {
        refused(one, &[ErrorKind::AlreadyExists]);
    }
    assert_eq!(it.mounted(), 1);
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    assert_eq!(it.mounted(), 0);
}

pub(super) async fn what_fails_is_undone(it: &Subject) {
    let one = it.source("one");
    for bad in [
        mount("bind", it.folder.join("not-there"), &["rbind"]),
        mount("no-such-file-system", "x", &[]),
        mount("loop", it.folder.join("not-there"), &[]),
        mount("bind", &one, &["rbind", "X-containerd.unknown=1"]),
        mount("fuse/unknown", "x", &[]),
    ] {
        let mounts = vec![mount("bind", &one, &["rbind"]), bad.clone()];
        if it.mounts.activate(&it.scope, "a", mounts, temporary()).await.is_ok() {
            panic!("{bad:?} can be mounted");
        }
        assert!(!it.is_active("a").await, "{bad:?}");
        assert_eq!(it.mounted(), 0, "{bad:?}");
    }
    it.bind(&it.scope, "a", temporary()).await;
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
}

pub(super) async fn deactivation_undoes_and_frees_the_name(it: &Subject) {
    for _ in 0..2 {
        let made = it.bind(&it.scope, "a", temporary()).await;
        assert_eq!(it.mounted(), 1);
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
        assert_eq!(it.mounted(), 0);
        assert!(!std::path::Path::new(&made.active[0].point).exists());
        assert!(!it.is_active("a").await);
    }
}

pub(super) async fn a_mount_in_use_is_undone_later(it: &Subject) {
    let made = it.bind(&it.scope, "a", temporary()).await;
    let used = fs::File::open(format!("{}/a", made.active[0].point)).unwrap();
    assert!(it.mounts.deactivate(&it.scope, "a").await.is_err(), "a mount in use was undone");
    // The name is free all the same.
    refused(it.mounts.deactivate(&it.scope, "a").await, &[ErrorKind::NotFound]);
    assert_eq!(it.mounted(), 1);
    drop(used);
    it.collect_garbage().await;
    assert_eq!(it.mounted(), 0);
}

pub(super) async fn unknown_names_are_not_found(it: &Subject) {
    refused(it.mounts.info(&it.scope, "a").await, &[ErrorKind::NotFound]);
    refused(it.mounts.deactivate(&it.scope, "a").await, &[ErrorKind::NotFound]);
    refused(it.mounts.info(&it.scope, "").await, &[ErrorKind::NotFound]);
}

pub(super) async fn activations_are_told_of(it: &Subject) {
    let leased = it.leases.create(&it.scope, "told", Labels::new()).await.must("a lease");
    let scope = it.scope.clone().with_lease(leased.id);
    let mut made = Vec::new();
    for name in ["b", "a", "c"] {
        made.push(it.bind(&scope, name, labelled([("key", name)])).await);
    }
    made.sort_by(|one, two| one.name.cmp(&two.name));
    let listed = collect(it.mounts.list(&it.scope).await.must("listing")).await;
    for (listed, made) in listed.iter().zip(&made) {
        let told = it.mounts.info(&it.scope, &made.name).await.must("info");
        assert_eq!(told, *listed);
        assert_eq!((&told.name, &told.labels), (&made.name, &made.labels));
        assert_eq!(told.system, made.system);
        assert_eq!(told.active[0].point, made.active[0].point);
        assert_eq!(told.active[0].mount.kind, "bind");
        assert_eq!(told.active[0].mounted, made.active[0].mounted);
    }
    assert_eq!(it.names(&it.scope).await, ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        it.mounts.deactivate(&it.scope, name).await.must("deactivating");
    }
}

pub(super) async fn activations_belong_to_their_namespace(it: &Subject) {
    it.bind(&it.scope, "a", temporary()).await;
    refused(it.mounts.info(&it.other, "a").await, &[ErrorKind::NotFound]);
    refused(it.mounts.deactivate(&it.other, "a").await, &[ErrorKind::NotFound]);
    assert!(it.names(&it.other).await.is_empty());
    it.bind(&it.other, "a", temporary()).await;
    it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    assert_eq!(it.names(&it.other).await, ["a"]);
    it.mounts.deactivate(&it.other, "a").await.must("deactivating");
}
