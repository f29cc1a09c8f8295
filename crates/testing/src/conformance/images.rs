//! Rules of `stowd_core::images`.

use std::sync::Arc;

use stowd_core::descriptor::media_type;
use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete, Image, Store};
use stowd_core::{Descriptor, Digest, ErrorKind, Labels, Scope, content, labels as words, leases};

use super::{Must as _, collect_garbage, labels, put, refused};

/// An image store with the content store and leases beside it, seen from two empty namespaces.
pub struct Subject {
    /// The store.
    pub images: Arc<dyn Store>,
    /// Where the images' targets are.
    pub content: Arc<dyn content::Store>,
    /// What keeps garbage collection away.
    pub leases: Arc<dyn leases::Store>,
    /// A namespace, without a lease.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
}

super::checks!(Subject:
    a_created_image_can_be_read,
    a_name_is_taken_once,
    unknown_images_are_not_found,
    a_name_must_not_be_empty,
    a_target_must_be_complete,
    images_are_listed_in_order,
    images_are_listed_by_filter,
    images_belong_to_their_namespace,
    update_of_everything_replaces_everything,
    update_by_field_path_changes_that_field,
    update_of_one_label_keeps_the_others,
    an_empty_value_removes_a_label,
    update_keeps_the_time_of_creation,
    annotations_of_the_target_are_kept,
    a_deleted_image_is_gone,
    delete_can_demand_a_target,
    labels_have_a_limit,
    an_image_keeps_its_target,
    an_image_keeps_what_its_target_refers_to,
    deleting_an_image_frees_its_content_at_once_when_asked,
);

fn image(name: &str, target: &[u8]) -> Image {
    let descriptor = Descriptor::new(media_type::MANIFEST, Digest::of(target), target.len() as u64);
    let now = std::time::SystemTime::UNIX_EPOCH;
    Image {
        name: name.to_owned(),
        target: descriptor,
        labels: Labels::new(),
        created: now,
        updated: now,
    }
}

async fn create(it: &Subject, name: &str, with: Labels) -> Image {
    let wanted = Image { labels: with, ..image(name, b"target") };
    it.images.create(&it.scope, wanted).await.must("creating an image")
}

async fn names(it: &Subject, filters: &[&str]) -> Vec<String> {
    let filters = Filters::parse(filters).must("a filter");
    let listed = it.images.list(&it.scope, &filters).await.must("listing images");
    listed.into_iter().map(|image| image.name).collect()
}

async fn a_created_image_can_be_read(it: &Subject) {
    let made = create(it, "test.example/a:1", labels([("k", "v")])).await;
    assert!(made.created > std::time::SystemTime::UNIX_EPOCH, "no time of creation");
    assert_eq!(made.created, made.updated);
    let read = it.images.get(&it.scope, "test.example/a:1").await.must("reading");
    assert_eq!(read, made);
    assert_eq!(read.labels, labels([("k", "v")]));
    assert_eq!(read.target, image("", b"target").target);
}

async fn a_name_is_taken_once(it: &Subject) {
    create(it, "a", Labels::new()).await;
    refused(it.images.create(&it.scope, image("a", b"other")).await, &[ErrorKind::AlreadyExists]);
    let read = it.images.get(&it.scope, "a").await.must("reading");
    assert_eq!(read.target.digest, Digest::of(b"target"));
}

async fn unknown_images_are_not_found(it: &Subject) {
    refused(it.images.get(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(it.images.update(&it.scope, image("x", b"t"), &[]).await, &[ErrorKind::NotFound]);
    refused(it.images.delete(&it.scope, "x", Delete::default()).await, &[ErrorKind::NotFound]);
}

async fn a_name_must_not_be_empty(it: &Subject) {
    refused(it.images.create(&it.scope, image("", b"t")).await, &[ErrorKind::InvalidArgument]);
}

async fn a_target_must_be_complete(it: &Subject) {
    let mut without_size = image("a", b"t");
    without_size.target.size = 0;
    refused(it.images.create(&it.scope, without_size).await, &[ErrorKind::InvalidArgument]);
    let mut without_type = image("a", b"t");
    without_type.target.media_type.clear();
    refused(it.images.create(&it.scope, without_type).await, &[ErrorKind::InvalidArgument]);
}

async fn images_are_listed_in_order(it: &Subject) {
    for name in ["b", "c", "a", "a/b"] {
        create(it, name, Labels::new()).await;
    }
    assert_eq!(names(it, &[]).await, ["a", "a/b", "b", "c"]);
}

async fn images_are_listed_by_filter(it: &Subject) {
    create(it, "test.example/a:1", labels([("team", "red")])).await;
    create(it, "test.example/b:1", labels([("team", "blue")])).await;
    it.images.create(&it.scope, image("test.example/c:1", b"else")).await.must("creating");
    assert_eq!(names(it, &["name==test.example/a:1"]).await, ["test.example/a:1"]);
    assert_eq!(names(it, &["labels.team==blue"]).await, ["test.example/b:1"]);
    assert_eq!(names(it, &["labels.team"]).await, ["test.example/a:1", "test.example/b:1"]);
    let by_digest = format!("target.digest=={}", Digest::of(b"else"));
    assert_eq!(names(it, &[&by_digest]).await, ["test.example/c:1"]);
    assert_eq!(
        names(it, &["labels.team==red", &by_digest]).await,
        ["test.example/a:1", "test.example/c:1"]
    );
    assert_eq!(names(it, &["name~=/b/,labels.team==blue"]).await, ["test.example/b:1"]);
    assert_eq!(names(it, &["name==nothing"]).await, [""; 0]);
}

async fn images_belong_to_their_namespace(it: &Subject) {
    create(it, "a", Labels::new()).await;
    refused(it.images.get(&it.other, "a").await, &[ErrorKind::NotFound]);
    it.images.create(&it.other, image("a", b"other")).await.must("creating");
    it.images.delete(&it.scope, "a", Delete::default()).await.must("deleting");
    it.images.get(&it.other, "a").await.must("reading");
}

async fn update_of_everything_replaces_everything(it: &Subject) {
    create(it, "a", labels([("old", "1")])).await;
    let wanted = Image { labels: labels([("new", "2")]), ..image("a", b"second") };
    let updated = it.images.update(&it.scope, wanted, &[]).await.must("updating");
    assert_eq!(updated.labels, labels([("new", "2")]));
    assert_eq!(updated.target.digest, Digest::of(b"second"));
    let read = it.images.get(&it.scope, "a").await.must("reading");
    assert_eq!((read.labels, read.target), (updated.labels, updated.target));
}

async fn update_by_field_path_changes_that_field(it: &Subject) {
    create(it, "a", labels([("old", "1")])).await;
    let wanted = Image { labels: labels([("new", "2")]), ..image("a", b"second") };
    let paths = ["target".to_owned()];
    let updated = it.images.update(&it.scope, wanted.clone(), &paths).await.must("updating");
    assert_eq!(updated.labels, labels([("old", "1")]));
    assert_eq!(updated.target.digest, Digest::of(b"second"));
    let paths = ["labels".to_owned()];
    let updated = it.images.update(&it.scope, wanted.clone(), &paths).await.must("updating");
    assert_eq!(updated.labels, labels([("new", "2")]));
    let paths = ["created".to_owned()];
    refused(it.images.update(&it.scope, wanted, &paths).await, &[ErrorKind::InvalidArgument]);
}

async fn update_of_one_label_keeps_the_others(it: &Subject) {
    create(it, "a", labels([("one", "1"), ("dotted.name/x", "2")])).await;
    let wanted = Image {
        labels: labels([("dotted.name/x", "changed"), ("one", "ignored")]),
        ..image("a", b"ignored")
    };
    let paths = ["labels.dotted.name/x".to_owned()];
    let updated = it.images.update(&it.scope, wanted, &paths).await.must("updating");
    assert_eq!(updated.labels, labels([("one", "1"), ("dotted.name/x", "changed")]));
    assert_eq!(updated.target.digest, Digest::of(b"target"));
}

async fn an_empty_value_removes_a_label(it: &Subject) {
    create(it, "a", labels([("one", "1"), ("two", "2")])).await;
    let wanted = Image { labels: labels([("one", "")]), ..image("a", b"target") };
    let paths = ["labels.one".to_owned()];
    it.images.update(&it.scope, wanted, &paths).await.must("updating");
    let read = it.images.get(&it.scope, "a").await.must("reading");
    assert_eq!(read.labels, labels([("two", "2")]));
}

async fn update_keeps_the_time_of_creation(it: &Subject) {
    let made = create(it, "a", Labels::new()).await;
    let updated = it.images.update(&it.scope, image("a", b"2"), &[]).await.must("updating");
    assert_eq!(updated.created, made.created);
    assert!(updated.updated > made.updated, "{:?} {:?}", updated.updated, made.updated);
}

async fn annotations_of_the_target_are_kept(it: &Subject) {
    let mut wanted = image("a", b"target");
    wanted.target.annotations = labels([("org.example/x", "y")]);
    it.images.create(&it.scope, wanted.clone()).await.must("creating");
    let read = it.images.get(&it.scope, "a").await.must("reading");
    assert_eq!(read.target.annotations, wanted.target.annotations);
    assert_eq!(names(it, &["annotations.\"org.example/x\"==y"]).await, ["a"]);
}

async fn a_deleted_image_is_gone(it: &Subject) {
    create(it, "a", Labels::new()).await;
    it.images.delete(&it.scope, "a", Delete::default()).await.must("deleting");
    refused(it.images.get(&it.scope, "a").await, &[ErrorKind::NotFound]);
    assert_eq!(names(it, &[]).await, [""; 0]);
}

async fn delete_can_demand_a_target(it: &Subject) {
    create(it, "a", Labels::new()).await;
    let wrong = Delete { target: Some(Digest::of(b"wrong")), ..Default::default() };
    refused(it.images.delete(&it.scope, "a", wrong).await, &[ErrorKind::NotFound]);
    it.images.get(&it.scope, "a").await.must("reading what was not deleted");
    let right = Delete { target: Some(Digest::of(b"target")), ..Default::default() };
    it.images.delete(&it.scope, "a", right).await.must("deleting");
}

async fn labels_have_a_limit(it: &Subject) {
    let long = "x".repeat(4096);
    let wanted = Image { labels: labels([("long", &long)]), ..image("a", b"t") };
    refused(it.images.create(&it.scope, wanted).await, &[ErrorKind::InvalidArgument]);
}

/// Stores blobs under a lease, refers to them, and lets the lease go.
async fn stored(it: &Subject, lease: &str) -> (Digest, Digest) {
    it.leases.create(&it.scope, lease, Labels::new()).await.must("a lease");
    let scope = it.scope.clone().with_lease(lease);
    let below = put(&*it.content, &scope, b"the layer", Labels::new()).await;
    let refer = labels([(&*format!("{}.l.0", words::GC_REF_CONTENT), below.as_str())]);
    let above = put(&*it.content, &scope, b"the manifest", refer).await;
    it.images.create(&scope, image("a", b"the manifest")).await.must("creating");
    it.leases.delete(&it.scope, lease, Collect::BeforeReturn).await.must("deleting the lease");
    (above, below)
}

async fn an_image_keeps_its_target(it: &Subject) {
    let (above, _) = stored(it, "l").await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &above).await.must("info of the target");
}

async fn an_image_keeps_what_its_target_refers_to(it: &Subject) {
    let (_, below) = stored(it, "l").await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &below).await.must("info of the layer");
}

async fn deleting_an_image_frees_its_content_at_once_when_asked(it: &Subject) {
    let (above, below) = stored(it, "l").await;
    let delete = Delete { collect: Collect::BeforeReturn, target: None };
    it.images.delete(&it.scope, "a", delete).await.must("deleting");
    refused(it.content.info(&it.scope, &above).await, &[ErrorKind::NotFound]);
    refused(it.content.info(&it.scope, &below).await, &[ErrorKind::NotFound]);
}
