//! Rules of `stowd_core::containers`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use stowd_core::containers::{Container, Runtime, SPEC_TYPE, Store};
use stowd_core::filters::Filters;
use stowd_core::{Any, ErrorKind, Labels, Scope};

use super::{Must as _, labels, refused};

/// A container store, seen from two namespaces that start empty.
pub struct Subject {
    /// The store.
    pub containers: Arc<dyn Store>,
    /// A namespace.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
}

super::checks!(Subject:
    a_created_container_can_be_read,
    an_id_is_taken_once,
    unknown_containers_are_not_found,
    an_id_must_be_an_identifier,
    a_runtime_is_needed,
    containers_are_listed_in_order_and_by_filter,
    containers_belong_to_their_namespace,
    labels_change_one_by_one,
    the_spec_can_be_replaced,
    extensions_change_one_by_one,
    the_runtime_cannot_change,
    a_deleted_container_is_gone,
);

fn any(type_url: &str, value: &str) -> Any {
    Any { type_url: type_url.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

pub(super) fn container(id: &str, spec: &str) -> Container {
    Container {
        id: id.to_owned(),
        labels: Labels::new(),
        image: "test.example/image:1".to_owned(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(any(SPEC_TYPE, spec)),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: BTreeMap::new(),
        sandbox_id: String::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

async fn create(it: &Subject, id: &str, with: Labels) -> Container {
    let wanted = Container { labels: with, ..container(id, "{}") };
    it.containers.create(&it.scope, wanted).await.must("creating a container")
}

async fn ids(it: &Subject, filters: &[&str]) -> Vec<String> {
    let filters = Filters::parse(filters).must("a filter");
    let listed = it.containers.list(&it.scope, &filters).await.must("listing");
    listed.into_iter().map(|container| container.id).collect()
}

async fn a_created_container_can_be_read(it: &Subject) {
    let wanted = Container {
        labels: labels([("a", "b")]),
        snapshotter: "overlayfs".to_owned(),
        snapshot_key: "k".to_owned(),
        extensions: BTreeMap::from([("x.example".to_owned(), any("example.Type", "data"))]),
        ..container("c1", r#"{"ociVersion":"1.0.2"}"#)
    };
    let made = it.containers.create(&it.scope, wanted.clone()).await.must("creating");
    let read = it.containers.get(&it.scope, "c1").await.must("reading");
    assert_eq!(read, made);
    let expected = Container { created: made.created, updated: made.updated, ..wanted };
    assert_eq!(read, expected);
    assert!(made.created > SystemTime::UNIX_EPOCH, "no time of creation");
}

async fn an_id_is_taken_once(it: &Subject) {
    create(it, "c", Labels::new()).await;
    refused(
        it.containers.create(&it.scope, container("c", "{}")).await,
        &[ErrorKind::AlreadyExists],
    );
}

async fn unknown_containers_are_not_found(it: &Subject) {
    refused(it.containers.get(&it.scope, "x").await, &[ErrorKind::NotFound]);
    refused(
        it.containers.update(&it.scope, container("x", "{}"), &[]).await,
        &[ErrorKind::NotFound],
    );
    refused(it.containers.delete(&it.scope, "x").await, &[ErrorKind::NotFound]);
}

async fn an_id_must_be_an_identifier(it: &Subject) {
    let long = "x".repeat(77);
    for id in ["", "a/b", "..", "a b", &long] {
        refused(
            it.containers.create(&it.scope, container(id, "{}")).await,
            &[ErrorKind::InvalidArgument],
        );
    }
}

async fn a_runtime_is_needed(it: &Subject) {
    let wanted = Container { runtime: Runtime::default(), ..container("c", "{}") };
    refused(it.containers.create(&it.scope, wanted).await, &[ErrorKind::InvalidArgument]);
}

async fn containers_are_listed_in_order_and_by_filter(it: &Subject) {
    create(it, "b", labels([("team", "red")])).await;
    create(it, "c", labels([("team", "blue")])).await;
    create(it, "a", labels([("team", "red")])).await;
    assert_eq!(ids(it, &[]).await, ["a", "b", "c"]);
    assert_eq!(ids(it, &["labels.team==red"]).await, ["a", "b"]);
    assert_eq!(ids(it, &["id==c", "id==a"]).await, ["a", "c"]);
    assert_eq!(ids(it, &["runtime.name==io.containerd.runc.v2,id~=[bc]"]).await, ["b", "c"]);
    assert_eq!(ids(it, &["image==nothing"]).await, [""; 0]);
}

async fn containers_belong_to_their_namespace(it: &Subject) {
    create(it, "c", Labels::new()).await;
    refused(it.containers.get(&it.other, "c").await, &[ErrorKind::NotFound]);
    it.containers.create(&it.other, container("c", "{}")).await.must("creating");
    it.containers.delete(&it.scope, "c").await.must("deleting");
    it.containers.get(&it.other, "c").await.must("reading");
}

async fn labels_change_one_by_one(it: &Subject) {
    let made = create(it, "c", labels([("one", "1"), ("two", "2")])).await;
    let wanted = Container { labels: labels([("one", "changed")]), ..made };
    let paths = ["labels.one".to_owned()];
    let updated = it.containers.update(&it.scope, wanted, &paths).await.must("updating");
    assert_eq!(updated.labels, labels([("one", "changed"), ("two", "2")]));
}

async fn the_spec_can_be_replaced(it: &Subject) {
    let made = create(it, "c", labels([("one", "1")])).await;
    let wanted = Container {
        spec: Some(any(SPEC_TYPE, r#"{"hostname":"new"}"#)),
        labels: Labels::new(),
        ..made
    };
    let paths = ["spec".to_owned()];
    it.containers.update(&it.scope, wanted.clone(), &paths).await.must("updating");
    let read = it.containers.get(&it.scope, "c").await.must("reading");
    assert_eq!(read.spec, wanted.spec);
    assert_eq!(read.labels, labels([("one", "1")]));
}

async fn extensions_change_one_by_one(it: &Subject) {
    let mut wanted = container("c", "{}");
    wanted.extensions = BTreeMap::from([
        ("a".to_owned(), any("example.T", "1")),
        ("b".to_owned(), any("example.T", "2")),
    ]);
    let mut made = it.containers.create(&it.scope, wanted).await.must("creating");
    made.extensions = BTreeMap::from([("a".to_owned(), any("example.T", "changed"))]);
    let paths = ["extensions.a".to_owned()];
    it.containers.update(&it.scope, made, &paths).await.must("updating");
    let read = it.containers.get(&it.scope, "c").await.must("reading");
    assert_eq!(read.extensions["a"], any("example.T", "changed"));
    assert_eq!(read.extensions["b"], any("example.T", "2"));
}

async fn the_runtime_cannot_change(it: &Subject) {
    let made = create(it, "c", Labels::new()).await;
    let runtime = Runtime { name: "io.containerd.other.v1".to_owned(), options: None };
    let wanted = Container { runtime, ..made };
    refused(
        it.containers.update(&it.scope, wanted.clone(), &[]).await,
        &[ErrorKind::InvalidArgument],
    );
    let paths = ["runtime".to_owned()];
    refused(it.containers.update(&it.scope, wanted, &paths).await, &[ErrorKind::InvalidArgument]);
}

async fn a_deleted_container_is_gone(it: &Subject) {
    create(it, "c", Labels::new()).await;
    it.containers.delete(&it.scope, "c").await.must("deleting");
    refused(it.containers.get(&it.scope, "c").await, &[ErrorKind::NotFound]);
    create(it, "c", Labels::new()).await;
}
