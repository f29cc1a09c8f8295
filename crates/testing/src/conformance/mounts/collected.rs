//! What keeps activations, and what becomes of those that nothing keeps.

use std::time::SystemTime;

use stowd_core::containers::{Container, Runtime};
use stowd_core::images::{Collect, Delete, Image};
use stowd_core::{Descriptor, Digest, labels as words};

use super::*;
use crate::conformance::{eventually, put};

pub(super) async fn an_activation_without_a_friend_is_collected(it: &Subject) {
    it.bind(&it.free(), "a", temporary()).await;
    it.bind(&it.free(), "b", labelled([("containerd.io/gc.root", "x"), ("key", "value")])).await;
    it.collect_garbage().await;
    assert!(it.names(&it.scope).await.is_empty());
    assert_eq!(it.mounted(), 0);
}

async fn lease(it: &Subject, id: &str, with: Labels) -> Scope {
    it.leases.create(&it.scope, id, with).await.must("a lease");
    it.scope.clone().with_lease(id)
}

pub(super) async fn a_lease_keeps_activations(it: &Subject) {
    for (id, with) in [("plain", labels([])), ("flat", labels([(words::GC_FLAT, "x")]))] {
        let scope = lease(it, id, with).await;
        it.bind(&scope, id, temporary()).await;
        it.collect_garbage().await;
        assert!(it.is_active(id).await, "a {id} lease");
        // They are the lease's own matter.
        assert_eq!(it.leases.resources(&it.scope, id).await.must("resources"), []);
        it.leases.delete(&it.scope, id, Collect::BeforeReturn).await.must("ending the lease");
        assert!(!it.is_active(id).await, "a {id} lease");
        assert_eq!(it.mounted(), 0);
    }
}

pub(super) async fn an_expired_lease_keeps_no_activation(it: &Subject) {
    let scope = lease(it, "l", labels([(words::GC_EXPIRE, "2020-01-01T00:00:00Z")])).await;
    // The collection that the lease calls for may come before the mount, or after it.
    if it
        .mounts
        .activate(&scope, "a", vec![mount("bind", it.source("a"), &[])], temporary())
        .await
        .is_ok()
    {
        it.collect_garbage().await;
    }
    assert!(!it.is_active("a").await);
    assert_eq!(it.mounted(), 0);
}

pub(super) async fn a_failed_activation_is_not_leased(it: &Subject) {
    let scope = lease(it, "l", labels([])).await;
    let mounts = vec![mount("bind", it.folder.join("not-there"), &[])];
    assert!(it.mounts.activate(&scope, "a", mounts, temporary()).await.is_err());
    // One of the same name, made without the lease, is not kept by it.
    it.bind(&it.free(), "a", temporary()).await;
    it.collect_garbage().await;
    assert!(!it.is_active("a").await);
    // Nor is one whose predecessor was made under it.
    it.bind(&scope, "a", temporary()).await;
    it.mounts.deactivate(&it.free(), "a").await.must("deactivating");
    it.bind(&it.free(), "a", temporary()).await;
    it.collect_garbage().await;
    assert!(!it.is_active("a").await);
}

fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        labels: Labels::new(),
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(stowd_core::Any { type_url: "spec".to_owned(), value: "{}".into() }),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: std::collections::BTreeMap::new(),
        sandbox_id: String::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

pub(super) async fn containers_keep_activations(it: &Subject) {
    it.containers.create(&it.scope, container("c")).await.must("a container");
    for (name, label) in [
        ("a", "containerd.io/gc.bref.container"),
        ("b", "containerd.io/gc.bref.container.rootfs"),
        ("d", "containerd.io/gc.bref.container/rootfs"),
        ("x", "containerd.io/gc.bref.containers"),
    ] {
        it.bind(&it.free(), name, labelled([(label, "c")])).await;
    }
    it.bind(&it.free(), "y", labelled([("containerd.io/gc.bref.container", "another")])).await;
    // A container of that name elsewhere keeps nothing here.
    it.containers.create(&it.other, container("another")).await.must("a container");
    it.collect_garbage().await;
    assert_eq!(it.names(&it.scope).await, ["a", "b", "d"]);
    it.containers.delete(&it.scope, "c").await.must("deleting the container");
    it.collect_garbage().await;
    assert!(it.names(&it.scope).await.is_empty());
    assert_eq!(it.mounted(), 0);
}

async fn image(it: &Subject, name: &str, target: &Digest, with: Labels) {
    let image = Image {
        name: name.to_owned(),
        labels: with,
        target: Descriptor::new("application/vnd.oci.image.manifest.v1+json", target.clone(), 2),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    };
    it.images.create(&it.scope, image).await.must("an image");
}

pub(super) async fn images_and_content_keep_activations(it: &Subject) {
    let scope = lease(it, "l", labels([])).await;
    let digest = put(&*it.content, &scope, b"kept by an image", labels([])).await;
    image(it, "i", &digest, labels([])).await;
    let content = digest.as_str();
    it.bind(&it.free(), "a", labelled([("containerd.io/gc.bref.image", "i")])).await;
    it.bind(&it.free(), "b", labelled([("containerd.io/gc.bref.content.layer", content)])).await;
    it.leases.delete(&it.scope, "l", Collect::BeforeReturn).await.must("ending the lease");
    assert_eq!(it.names(&it.scope).await, ["a", "b"]);
    let delete = Delete { collect: Collect::BeforeReturn, ..Delete::default() };
    it.images.delete(&it.scope, "i", delete).await.must("deleting the image");
    eventually("both are collected", async || it.names(&it.scope).await.is_empty()).await;
    eventually("both are unmounted", async || it.mounted() == 0).await;
}

pub(super) async fn snapshots_keep_activations(it: &Subject) {
    let rooted = labels([(words::GC_ROOT, "x")]);
    it.snapshotter.prepare(&it.scope, "s", None, rooted).await.must("a snapshot");
    let label = format!("containerd.io/gc.bref.snapshot.{}", it.snapshotter_name);
    let other = format!("{label}/part");
    it.bind(&it.free(), "a", labelled([(label.as_str(), "s")])).await;
    it.bind(&it.free(), "b", labelled([(other.as_str(), "s")])).await;
    it.bind(&it.free(), "x", labelled([("containerd.io/gc.bref.snapshot.none", "s")])).await;
    it.collect_garbage().await;
    assert_eq!(it.names(&it.scope).await, ["a", "b"]);
    it.snapshotter.remove(&it.scope, "s").await.must("removing the snapshot");
    it.collect_garbage().await;
    assert!(it.names(&it.scope).await.is_empty());
}

pub(super) async fn objects_keep_the_activations_they_name(it: &Subject) {
    let with = labels([
        (words::GC_ROOT, "x"),
        ("containerd.io/gc.ref.mount", "a"),
        ("containerd.io/gc.ref.mount.second", "b"),
        ("containerd.io/gc.ref.mounts", "x"),
    ]);
    it.snapshotter.prepare(&it.scope, "s", None, with).await.must("a snapshot");
    for name in ["a", "b", "x"] {
        it.bind(&it.free(), name, temporary()).await;
    }
    it.collect_garbage().await;
    assert_eq!(it.names(&it.scope).await, ["a", "b"]);
    it.snapshotter.remove(&it.scope, "s").await.must("removing the snapshot");
    it.collect_garbage().await;
    assert!(it.names(&it.scope).await.is_empty());
}

pub(super) async fn what_is_collected_is_unmounted(it: &Subject) {
    let scope = lease(it, "l", labels([])).await;
    let image = it.folder.join("image");
    let mounts = vec![
        mount("mkfs/loop", &image, &["X-containerd.mkfs.size=16MiB"]),
        mount("format/ext4", "{{ mount 0 }}", &[]),
        mount("format/bind", "{{ mount 1 }}", &["rbind"]),
    ];
    let made = it.mounts.activate(&scope, "a", mounts, temporary()).await.must("activating");
    assert_eq!(made.active.len(), 3);
    assert_eq!(it.devices(), 1);
    it.leases.delete(&it.scope, "l", Collect::BeforeReturn).await.must("ending the lease");
    assert!(!it.is_active("a").await);
    assert!(made.active.iter().all(|active| !Path::new(&active.point).exists()));
    eventually("the loop device is free", async || it.devices() == 0).await;
}
