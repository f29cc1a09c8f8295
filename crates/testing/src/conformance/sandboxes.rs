//! Rules of `stowd_core::sandboxes::Store`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use stowd_core::containers::Runtime;
use stowd_core::filters::Filters;
use stowd_core::sandboxes::{Sandbox, Store};
use stowd_core::{Any, ErrorKind, Labels, Scope, content, leases, namespaces};

use super::{Must as _, collect_garbage, labels, put, refused};

/// A store of sandboxes with what they keep beside it, seen from two namespaces that start empty.
pub struct Subject {
    /// The store.
    pub sandboxes: Arc<dyn Store>,
    /// The namespaces themselves.
    pub namespaces: Arc<dyn namespaces::Store>,
    /// Blobs to keep.
    pub content: Arc<dyn content::Store>,
    /// Leases, to have garbage collected.
    pub leases: Arc<dyn leases::Store>,
    /// A namespace, without a lease.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
}

super::checks!(Subject:
    a_created_sandbox_can_be_read,
    an_id_is_taken_once,
    unknown_sandboxes_are_not_found,
    an_id_must_be_an_identifier,
    a_runtime_is_not_needed,
    sandboxes_are_listed_in_order_and_by_filter,
    sandboxes_belong_to_their_namespace,
    labels_change_one_by_one,
    empty_labels_are_none,
    the_spec_can_be_replaced,
    extensions_change_one_by_one,
    an_update_without_paths_changes_all_that_can_change,
    a_runtimes_name_changes_only_by_its_path,
    the_sandboxer_cannot_change,
    a_deleted_sandbox_is_gone,
    labels_keep_what_they_name,
    a_namespace_takes_its_sandboxes_along,
);

fn any(type_url: &str, value: &str) -> Any {
    Any { type_url: type_url.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        labels: Labels::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(any(SPEC, "{}")),
        sandboxer: "shim".to_owned(),
        extensions: BTreeMap::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

async fn create(it: &Subject, id: &str, with: Labels) -> Sandbox {
    let wanted = Sandbox { labels: with, ..sandbox(id) };
    it.sandboxes.create(&it.scope, wanted).await.must("creating a sandbox")
}

async fn read(it: &Subject, id: &str) -> Sandbox {
    it.sandboxes.get(&it.scope, id).await.must("reading a sandbox")
}

async fn update(it: &Subject, wanted: Sandbox, paths: &[&str]) -> stowd_core::Result<Sandbox> {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    it.sandboxes.update(&it.scope, wanted, &paths).await
}

async fn ids(it: &Subject, filters: &[&str]) -> Vec<String> {
    let filters = Filters::parse(filters).must("a filter");
    let listed = it.sandboxes.list(&it.scope, &filters).await.must("listing");
    listed.into_iter().map(|sandbox| sandbox.id).collect()
}

async fn a_created_sandbox_can_be_read(it: &Subject) {
    let options = Some(any("example.Options", "o"));
    let wanted = Sandbox {
        labels: labels([("a", "b")]),
        runtime: Runtime { name: "io.containerd.example.v1".to_owned(), options },
        extensions: BTreeMap::from([("x.example".to_owned(), any("example.Type", "data"))]),
        ..sandbox("s1")
    };
    let made = it.sandboxes.create(&it.scope, wanted.clone()).await.must("creating");
    assert_eq!(read(it, "s1").await, made);
    assert_eq!(made.created, made.updated);
    assert!(made.created > SystemTime::UNIX_EPOCH, "no time of creation");
    assert_eq!(made, Sandbox { created: made.created, updated: made.updated, ..wanted });
}

async fn an_id_is_taken_once(it: &Subject) {
    create(it, "s", Labels::new()).await;
    refused(it.sandboxes.create(&it.scope, sandbox("s")).await, &[ErrorKind::AlreadyExists]);
}

async fn unknown_sandboxes_are_not_found(it: &Subject) {
    // Once in a namespace without any, and once beside another.
    for _ in 0..2 {
        refused(it.sandboxes.get(&it.scope, "x").await, &[ErrorKind::NotFound]);
        refused(update(it, sandbox("x"), &[]).await, &[ErrorKind::NotFound]);
        refused(it.sandboxes.delete(&it.scope, "x").await, &[ErrorKind::NotFound]);
        let _ = it.sandboxes.create(&it.scope, sandbox("s")).await;
    }
}

async fn an_id_must_be_an_identifier(it: &Subject) {
    let long = "x".repeat(77);
    for id in ["", "a/b", "..", "a b", &long] {
        refused(it.sandboxes.create(&it.scope, sandbox(id)).await, &[ErrorKind::InvalidArgument]);
    }
}

async fn a_runtime_is_not_needed(it: &Subject) {
    let wanted = Sandbox { runtime: Runtime::default(), spec: None, ..sandbox("s") };
    it.sandboxes.create(&it.scope, wanted).await.must("creating");
    assert_eq!(read(it, "s").await.runtime, Runtime::default());
}

async fn sandboxes_are_listed_in_order_and_by_filter(it: &Subject) {
    assert_eq!(ids(it, &[]).await, [""; 0]);
    create(it, "b", labels([("team", "red")])).await;
    create(it, "c", labels([("team", "blue")])).await;
    create(it, "a", labels([("team", "red")])).await;
    assert_eq!(ids(it, &[]).await, ["a", "b", "c"]);
    assert_eq!(ids(it, &["labels.team==red"]).await, ["a", "b"]);
    assert_eq!(ids(it, &["id==c", "id==a"]).await, ["a", "c"]);
    // Other fields are not there for a filter.
    assert_eq!(ids(it, &["runtime.name==io.containerd.runc.v2"]).await, [""; 0]);
}

async fn sandboxes_belong_to_their_namespace(it: &Subject) {
    create(it, "s", Labels::new()).await;
    refused(it.sandboxes.get(&it.other, "s").await, &[ErrorKind::NotFound]);
    refused(it.sandboxes.delete(&it.other, "s").await, &[ErrorKind::NotFound]);
    refused(it.sandboxes.update(&it.other, sandbox("s"), &[]).await, &[ErrorKind::NotFound]);
    let listed = it.sandboxes.list(&it.other, &Filters::default()).await.must("listing");
    assert_eq!(listed, []);
    it.sandboxes.create(&it.other, sandbox("s")).await.must("creating");
    it.sandboxes.delete(&it.scope, "s").await.must("deleting");
    it.sandboxes.get(&it.other, "s").await.must("reading");
}

async fn labels_change_one_by_one(it: &Subject) {
    let made = create(it, "s", labels([("one", "1"), ("two", "2"), ("three", "3")])).await;
    let wanted = Sandbox { labels: labels([("one", "changed")]), ..made.clone() };
    let updated = update(it, wanted, &["labels.one", "labels.three"]).await.must("updating");
    assert_eq!(updated.labels, labels([("one", "changed"), ("two", "2")]));
    assert_eq!(read(it, "s").await, updated);
    assert_eq!(updated.created, made.created);
    assert!(updated.updated > made.updated, "the time of the update stands still");
}

async fn empty_labels_are_none(it: &Subject) {
    create(it, "s", labels([("one", ""), ("two", "2")])).await;
    assert_eq!(read(it, "s").await.labels, labels([("two", "2")]));
}

async fn the_spec_can_be_replaced(it: &Subject) {
    let made = create(it, "s", labels([("one", "1")])).await;
    let spec = Some(any(SPEC, r#"{"hostname":"new"}"#));
    let wanted = Sandbox { spec, labels: Labels::new(), ..made };
    update(it, wanted.clone(), &["spec"]).await.must("updating");
    let now = read(it, "s").await;
    assert_eq!(now.spec, wanted.spec);
    assert_eq!(now.labels, labels([("one", "1")]));
}

async fn extensions_change_one_by_one(it: &Subject) {
    let one = |value| any("example.T", value);
    let mut wanted = sandbox("s");
    wanted.extensions = BTreeMap::from([("a".to_owned(), one("1")), ("b".to_owned(), one("2"))]);
    let mut made = it.sandboxes.create(&it.scope, wanted).await.must("creating");
    made.extensions = BTreeMap::from([("a".to_owned(), one("changed"))]);
    update(it, made, &["extensions.a"]).await.must("updating");
    let now = read(it, "s").await;
    assert_eq!(now.extensions["a"], one("changed"));
    assert_eq!(now.extensions["b"], one("2"));
}

async fn an_update_without_paths_changes_all_that_can_change(it: &Subject) {
    let made = create(it, "s", labels([("one", "1")])).await;
    let options = Some(any("example.Options", "new"));
    let wanted = Sandbox {
        labels: labels([("two", "2")]),
        runtime: Runtime { options, ..made.runtime.clone() },
        spec: Some(any(SPEC, r#"{"hostname":"new"}"#)),
        sandboxer: "other".to_owned(),
        extensions: BTreeMap::from([("x".to_owned(), any("example.T", "1"))]),
        ..made.clone()
    };
    let updated = update(it, wanted.clone(), &[]).await.must("updating");
    let sandboxer = made.sandboxer;
    assert_eq!(updated, Sandbox { sandboxer, updated: updated.updated, ..wanted });
}

async fn a_runtimes_name_changes_only_by_its_path(it: &Subject) {
    let made = create(it, "s", Labels::new()).await;
    let runtime = Runtime { name: "io.containerd.other.v1".to_owned(), options: None };
    let wanted = Sandbox { runtime: runtime.clone(), ..made };
    refused(update(it, wanted.clone(), &[]).await, &[ErrorKind::InvalidArgument]);
    let updated = update(it, wanted, &["runtime"]).await.must("updating");
    assert_eq!(updated.runtime, runtime);
}

async fn the_sandboxer_cannot_change(it: &Subject) {
    let made = create(it, "s", Labels::new()).await;
    for path in ["sandboxer", "id", "created_at", "runtime.name", "nothing"] {
        refused(update(it, made.clone(), &[path]).await, &[ErrorKind::InvalidArgument]);
    }
    // Nor does any of an update that fails.
    let wanted = Sandbox { labels: labels([("one", "1")]), ..made.clone() };
    refused(update(it, wanted, &["labels", "sandboxer"]).await, &[ErrorKind::InvalidArgument]);
    assert_eq!(read(it, "s").await, made);
}

async fn a_deleted_sandbox_is_gone(it: &Subject) {
    create(it, "s", Labels::new()).await;
    it.sandboxes.delete(&it.scope, "s").await.must("deleting");
    refused(it.sandboxes.get(&it.scope, "s").await, &[ErrorKind::NotFound]);
    refused(it.sandboxes.delete(&it.scope, "s").await, &[ErrorKind::NotFound]);
    create(it, "s", Labels::new()).await;
}

async fn labels_keep_what_they_name(it: &Subject) {
    it.leases.create(&it.scope, "held", Labels::new()).await.must("a lease");
    let held = it.scope.clone().with_lease("held");
    let named = put(&*it.content, &held, b"named", Labels::new()).await;
    let free = put(&*it.content, &held, b"free", Labels::new()).await;
    create(it, "s", labels([("containerd.io/gc.ref.content.config", named.as_str())])).await;
    let collect = stowd_core::images::Collect::BeforeReturn;
    it.leases.delete(&it.scope, "held", collect).await.must("deleting a lease");
    it.content.info(&it.scope, &named).await.must("what a sandbox needs");
    refused(it.content.info(&it.scope, &free).await, &[ErrorKind::NotFound]);
    it.sandboxes.delete(&it.scope, "s").await.must("deleting");
    collect_garbage(&*it.leases, &it.scope).await;
    refused(it.content.info(&it.scope, &named).await, &[ErrorKind::NotFound]);
}

async fn a_namespace_takes_its_sandboxes_along(it: &Subject) {
    create(it, "s", Labels::new()).await;
    it.namespaces.delete(&it.scope.namespace).await.must("deleting a namespace");
    refused(it.sandboxes.get(&it.scope, "s").await, &[ErrorKind::NotFound]);
    create(it, "s", Labels::new()).await;
}
