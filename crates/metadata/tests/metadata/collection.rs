//! Garbage collection by containerd's labels: what is kept, what goes, when, and who is told.

use std::time::{Duration, SystemTime};

use stowd_core::events::Event;
use stowd_core::images::{Collect, Delete};
use stowd_core::leases::Resource;
use stowd_core::snapshots::Commit;
use stowd_core::{Digest, ErrorKind, Labels, Scope};

use crate::bench::{Bench, container, labels, until};

/// A namespace being filled under a lease, and without one.
struct Filling {
    bench: Bench,
    held: Scope,
    scope: Scope,
}

impl Filling {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let held = bench.leased().await;
        let scope = Scope::new(held.namespace.clone());
        Self { bench, held, scope }
    }

    async fn blob(&self, data: &str, labels: &[(&str, &str)]) -> Digest {
        self.bench.put(&self.held, data, labels).await
    }

    /// Makes a committed snapshot.
    async fn snapshot(&self, name: &str, parent: Option<&str>, with: &[(&str, &str)]) {
        let native = self.bench.native();
        native.prepare(&self.held, "making", parent, Labels::new()).await.unwrap();
        let commit = Commit { labels: labels(with), ..Commit::default() };
        native.commit(&self.held, name, "making", commit).await.unwrap();
    }

    /// Gives the lease up, and with it all that nothing else keeps.
    async fn release(&self) {
        let leases = self.bench.metadata.leases();
        leases.delete(&self.scope, "held", Collect::BeforeReturn).await.unwrap();
    }

    /// Asserts which blobs are left, on record and on disk.
    async fn keeps(&self, wanted: &[&Digest]) {
        let mut wanted: Vec<Digest> = wanted.iter().copied().cloned().collect();
        wanted.sort();
        assert_eq!(self.bench.blobs(&self.scope).await, wanted);
        let (mut disk, _) = self.bench.on_disk().await;
        disk.sort();
        assert_eq!(disk, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_labels_keep_content_in_every_form() {
    let it = Filling::new().await;
    let mut kept = Vec::new();
    for (index, form) in ["", ".0", ".config", ".m.1", "/anything"].iter().enumerate() {
        let child = it.blob(&format!("child {index}"), &[]).await;
        let label = format!("containerd.io/gc.ref.content{form}");
        let root = [("containerd.io/gc.root", "now"), (label.as_str(), child.as_str())];
        kept.push(it.blob(&format!("root {index}"), &root).await);
        kept.push(child);
    }
    let other = it.blob("other", &[]).await;
    let unlike =
        [("containerd.io/gc.root", "1"), ("containerd.io/gc.ref.contents", other.as_str())];
    kept.push(it.blob("unlike", &unlike).await);
    it.release().await;
    it.keeps(&kept.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_labels_keep_snapshots_and_images() {
    let it = Filling::new().await;
    for name in ["low", "top", "named", "free"] {
        it.snapshot(name, (name == "top").then_some("low"), &[]).await;
    }
    let target = it.blob("target", &[]).await;
    // An image that has expired is kept by nothing but a reference.
    let past = ("containerd.io/gc.expire", "2001-01-01T00:00:00Z");
    it.bench.image(&it.held, "old", &target, &[past]).await;
    it.bench.image(&it.held, "older", &target, &[past]).await;
    let root = it
        .blob(
            "root",
            &[
                ("containerd.io/gc.root", "1"),
                ("containerd.io/gc.ref.snapshot.native", "top"),
                ("containerd.io/gc.ref.snapshot.native/mine", "named"),
                ("containerd.io/gc.ref.snapshot.overlayfs", "free"),
                ("containerd.io/gc.ref.image.base", "old"),
            ],
        )
        .await;
    it.release().await;
    it.keeps(&[&root, &target]).await;
    for (name, kept) in [("low", true), ("top", true), ("named", true), ("free", false)] {
        assert_eq!(it.bench.has_snapshot(&it.scope, name).await, kept, "{name}");
    }
    assert!(it.bench.has_image(&it.scope, "old").await);
    assert!(!it.bench.has_image(&it.scope, "older").await);
    assert_eq!(it.bench.on_disk().await.1.len(), 3);
    let told = it.bench.events(&it.scope);
    assert!(told.contains(&Event::ImageDelete { name: "older".to_owned() }));
    let (key, snapshotter) = ("free".to_owned(), "native".to_owned());
    assert!(told.contains(&Event::SnapshotRemove { key, snapshotter }));
    assert!(!told.iter().any(|event| matches!(event, Event::ContentDelete { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_back_live_as_long_as_what_they_name() {
    let it = Filling::new().await;
    let target = it.blob("target", &[]).await;
    it.bench.image(&it.held, "image", &target, &[]).await;
    it.snapshot("rootfs", None, &[("containerd.io/gc.root", "1")]).await;
    let containers = it.bench.metadata.containers();
    containers.create(&it.scope, container("box", Labels::new())).await.unwrap();
    let mut followers = Vec::new();
    for (index, (label, of)) in [
        ("containerd.io/gc.bref.content.signs", target.as_str()),
        ("containerd.io/gc.bref.image", "image"),
        ("containerd.io/gc.bref.container", "box"),
        ("containerd.io/gc.bref.snapshot.native/x", "rootfs"),
    ]
    .iter()
    .enumerate()
    {
        followers.push(it.blob(&format!("follower {index}"), &[(label, of)]).await);
    }
    let stray = [("containerd.io/gc.bref.image", "another")];
    it.blob("of what is not there", &stray).await;
    it.release().await;
    let mut all: Vec<&Digest> = followers.iter().collect();
    all.push(&target);
    it.keeps(&all).await;

    containers.delete(&it.scope, "box").await.unwrap();
    let now = Delete { collect: Collect::BeforeReturn, target: None };
    it.bench.metadata.images().delete(&it.scope, "image", now).await.unwrap();
    it.keeps(&[&followers[3]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flat_lease_keeps_what_its_own_cannot_be_without() {
    let it = Filling::new().await;
    let child = it.blob("child", &[]).await;
    let target = it.blob("target", &[("containerd.io/gc.ref.content.0", child.as_str())]).await;
    let past = [("containerd.io/gc.expire", "2001-01-01T00:00:00Z")];
    it.bench.image(&it.held, "image", &target, &past).await;
    it.snapshot("low", None, &[]).await;
    let label = [("containerd.io/gc.ref.content.0", child.as_str())];
    it.snapshot("top", Some("low"), &label).await;
    let leases = it.bench.metadata.leases();
    let flat = labels(&[("containerd.io/gc.flat", "1")]);
    leases.create(&it.scope, "flat", flat).await.unwrap();
    for (kind, id) in [("images", "image"), ("snapshots/native", "top")] {
        let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
        leases.add_resource(&it.scope, "flat", resource).await.unwrap();
    }
    it.release().await;
    it.keeps(&[&target]).await;
    assert!(it.bench.has_image(&it.scope, "image").await);
    assert!(it.bench.has_snapshot(&it.scope, "top").await);
    assert!(it.bench.has_snapshot(&it.scope, "low").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_stay_in_their_namespace() {
    let it = Filling::new().await;
    let blob = it.blob("bytes of both", &[]).await;
    let other = it.bench.leased().await;
    it.bench.put(&other, "bytes of both", &[]).await;
    it.bench.image(&other, "image", &blob, &[]).await;
    it.release().await;
    assert!(!it.bench.has_blob(&it.scope, &blob).await);
    assert!(it.bench.has_blob(&other, &blob).await);
    // The other namespace's hold keeps the bytes.
    assert_eq!(it.bench.on_disk().await.0, [blob]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_already_comes_under_the_callers_lease() {
    let it = Filling::new().await;
    it.snapshot("layer", None, &[]).await;
    it.snapshot("another", None, &[]).await;
    let leases = it.bench.metadata.leases();
    leases.create(&it.scope, "second", Labels::new()).await.unwrap();
    let second = it.scope.clone().with_lease("second");
    let native = it.bench.native();
    let unpack = labels(&[("containerd.io/snapshot.ref", "layer")]);
    let found = native.prepare(&second, "unpack", None, unpack).await.unwrap_err();
    assert_eq!(found.kind(), ErrorKind::AlreadyExists);
    native.prepare(&second, "again", None, Labels::new()).await.unwrap();
    let found = native.commit(&second, "another", "again", Commit::default()).await.unwrap_err();
    assert_eq!(found.kind(), ErrorKind::AlreadyExists);
    it.release().await;
    assert!(it.bench.has_snapshot(&it.scope, "layer").await);
    assert!(it.bench.has_snapshot(&it.scope, "another").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_goes_without_being_asked() {
    let it = Filling::new().await;
    let soon = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_millis(400)).unwrap();
    let soon = soon.to_string();
    let target = it.blob("target", &[]).await;
    it.bench.image(&it.held, "image", &target, &[("containerd.io/gc.expire", &soon)]).await;
    it.release().await;
    it.keeps(&[&target]).await;
    until("the image expires", async || !it.bench.has_image(&it.scope, "image").await).await;
    until("its target goes from disk", async || it.bench.on_disk().await.0.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_keeps_its_snapshot_until_it_is_deleted() {
    let it = Filling::new().await;
    let native = it.bench.native();
    it.snapshot("layer", None, &[]).await;
    native.prepare(&it.held, "rootfs", Some("layer"), Labels::new()).await.unwrap();
    native.prepare(&it.held, "unused", Some("layer"), Labels::new()).await.unwrap();
    let mut of = container("box", Labels::new());
    "native".clone_into(&mut of.snapshotter);
    "rootfs".clone_into(&mut of.snapshot_key);
    let containers = it.bench.metadata.containers();
    containers.create(&it.scope, of).await.unwrap();
    it.release().await;
    assert!(it.bench.has_snapshot(&it.scope, "rootfs").await);
    assert!(it.bench.has_snapshot(&it.scope, "layer").await);
    assert!(!it.bench.has_snapshot(&it.scope, "unused").await);
    containers.delete(&it.scope, "box").await.unwrap();
    // Nobody asks: a deletion is reason enough.
    until("the trees go", async || it.bench.on_disk().await.1.is_empty()).await;
    assert!(!it.bench.has_snapshot(&it.scope, "layer").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_with_an_empty_value_is_none() {
    let it = Filling::new().await;
    let blob = it.blob("blob", &[("containerd.io/gc.root", "1"), ("none", "")]).await;
    it.bench.image(&it.held, "image", &blob, &[("some", "1"), ("none", "")]).await;
    it.snapshot("layer", None, &[("containerd.io/gc.root", ""), ("some", "1")]).await;
    let boxed = container("box", labels(&[("some", "1"), ("none", "")]));
    let boxed = it.bench.metadata.containers().create(&it.scope, boxed).await.unwrap();
    let some = labels(&[("some", "1")]);
    assert_eq!(boxed.labels, some);
    assert_eq!(it.bench.metadata.images().get(&it.scope, "image").await.unwrap().labels, some);
    let info = it.bench.metadata.content().info(&it.scope, &blob).await.unwrap();
    assert_eq!(info.labels, labels(&[("containerd.io/gc.root", "1")]));
    it.release().await;
    assert!(!it.bench.has_snapshot(&it.scope, "layer").await);
}
