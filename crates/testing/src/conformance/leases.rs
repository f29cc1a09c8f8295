//! Rules of `stowd_core::leases`, and of garbage collection, which leases hold off.

use std::sync::Arc;

use bytes::Bytes;
use stowd_core::content::{self, WriterOptions};
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::leases::{Resource, Store};
use stowd_core::snapshots::{Commit, Snapshotter};
use stowd_core::{ErrorKind, Labels, Scope, labels as words};

use super::{Must as _, collect_garbage, labels, open_writer, put, refused};

/// A lease store with what leases protect beside it, seen from two empty namespaces.
pub struct Subject {
    /// The store.
    pub leases: Arc<dyn Store>,
    /// Blobs to protect.
    pub content: Arc<dyn content::Store>,
    /// Snapshots to protect.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// The snapshotter's name.
    pub snapshotter_name: String,
    /// A namespace, without a lease.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
}

super::checks!(Subject:
    a_created_lease_is_listed,
    an_id_is_taken_once,
    a_lease_needs_an_id,
    unknown_leases_are_not_found,
    leases_are_listed_by_filter,
    leases_belong_to_their_namespace,
    resources_can_be_added_and_taken_out,
    a_resource_need_not_exist,
    unknown_kinds_of_resources_are_refused,
    what_is_made_under_a_lease_belongs_to_it,
    working_under_an_unknown_lease_is_refused,
    a_lease_keeps_content,
    a_lease_keeps_what_its_content_refers_to,
    a_flat_lease_keeps_only_what_it_names,
    an_expired_lease_keeps_nothing,
    a_lease_keeps_snapshots_with_their_parents,
    a_lease_keeps_ingests,
    deleting_a_lease_frees_what_it_held,
    taking_a_resource_out_frees_it,
    a_root_label_keeps_content,
    a_root_label_keeps_what_it_refers_to,
    content_keeps_the_snapshots_it_refers_to,
    a_snapshot_keeps_its_parents,
    circles_are_collected,
    collection_stays_in_the_namespaces_that_need_it,
);

async fn lease(it: &Subject, id: &str, with: Labels) -> Scope {
    it.leases.create(&it.scope, id, with).await.must("creating a lease");
    it.scope.clone().with_lease(id)
}

async fn ids(it: &Subject, filters: &[&str]) -> Vec<String> {
    let filters = Filters::parse(filters).must("a filter");
    let listed = it.leases.list(&it.scope, &filters).await.must("listing leases");
    listed.into_iter().map(|lease| lease.id).collect()
}

fn resource(kind: &str, id: impl Into<String>) -> Resource {
    Resource { kind: kind.to_owned(), id: id.into() }
}

async fn resources(it: &Subject, id: &str) -> Vec<Resource> {
    let mut all = it.leases.resources(&it.scope, id).await.must("listing resources");
    all.sort();
    all
}

async fn a_created_lease_is_listed(it: &Subject) {
    let made = it.leases.create(&it.scope, "l", labels([("a", "b")])).await.must("creating");
    assert_eq!((made.id.as_str(), &made.labels), ("l", &labels([("a", "b")])));
    let listed = it.leases.list(&it.scope, &Filters::default()).await.must("listing");
    assert_eq!(listed, [made]);
}

async fn an_id_is_taken_once(it: &Subject) {
    lease(it, "l", Labels::new()).await;
    refused(it.leases.create(&it.scope, "l", Labels::new()).await, &[ErrorKind::AlreadyExists]);
}

async fn a_lease_needs_an_id(it: &Subject) {
    // containerd's service makes one up; a store that is asked directly may refuse instead.
    match it.leases.create(&it.scope, "", Labels::new()).await {
        Ok(made) => assert!(!made.id.is_empty(), "a lease without an id"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}"),
    }
}

async fn unknown_leases_are_not_found(it: &Subject) {
    refused(it.leases.delete(&it.scope, "x", Collect::Later).await, &[ErrorKind::NotFound]);
    refused(it.leases.resources(&it.scope, "x").await, &[ErrorKind::NotFound]);
    let some = resource("content", stowd_core::Digest::of(b"x").as_str());
    refused(it.leases.add_resource(&it.scope, "x", some.clone()).await, &[ErrorKind::NotFound]);
    refused(it.leases.delete_resource(&it.scope, "x", some).await, &[ErrorKind::NotFound]);
}

async fn leases_are_listed_by_filter(it: &Subject) {
    lease(it, "b", labels([("for", "pull")])).await;
    lease(it, "a", labels([("for", "build")])).await;
    lease(it, "c", labels([("for", "pull")])).await;
    assert_eq!(ids(it, &[]).await, ["a", "b", "c"]);
    assert_eq!(ids(it, &["id==c"]).await, ["c"]);
    assert_eq!(ids(it, &["labels.for==pull"]).await, ["b", "c"]);
    assert_eq!(ids(it, &["labels.for==pull,id!=b"]).await, ["c"]);
}

async fn leases_belong_to_their_namespace(it: &Subject) {
    lease(it, "l", Labels::new()).await;
    let there = it.leases.list(&it.other, &Filters::default()).await.must("listing");
    assert_eq!(there, []);
    it.leases.create(&it.other, "l", Labels::new()).await.must("creating");
    it.leases.delete(&it.scope, "l", Collect::Later).await.must("deleting");
    assert_eq!(it.leases.list(&it.other, &Filters::default()).await.must("listing").len(), 1);
}

async fn resources_can_be_added_and_taken_out(it: &Subject) {
    lease(it, "l", Labels::new()).await;
    let digest = stowd_core::Digest::of(b"x");
    let snapshots = format!("snapshots/{}", it.snapshotter_name);
    let all = [
        resource("content", digest.as_str()),
        resource("ingests", "some-ingest"),
        resource(&snapshots, "some-key"),
    ];
    for one in &all {
        it.leases.add_resource(&it.scope, "l", one.clone()).await.must("adding");
        // A second time changes nothing.
        it.leases.add_resource(&it.scope, "l", one.clone()).await.must("adding again");
    }
    assert_eq!(resources(it, "l").await, all);
    it.leases.delete_resource(&it.scope, "l", all[1].clone()).await.must("taking out");
    assert_eq!(resources(it, "l").await, [all[0].clone(), all[2].clone()]);
}

async fn a_resource_need_not_exist(it: &Subject) {
    lease(it, "l", Labels::new()).await;
    let nothing = resource("content", stowd_core::Digest::of(b"nothing").as_str());
    it.leases.add_resource(&it.scope, "l", nothing.clone()).await.must("adding");
    collect_garbage(&*it.leases, &it.scope).await;
    assert_eq!(resources(it, "l").await, [nothing]);
}

async fn unknown_kinds_of_resources_are_refused(it: &Subject) {
    lease(it, "l", Labels::new()).await;
    refused(
        it.leases.add_resource(&it.scope, "l", resource("cargo", "x")).await,
        &[ErrorKind::InvalidArgument, ErrorKind::NotImplemented],
    );
    refused(
        it.leases.add_resource(&it.scope, "l", resource("content", "not a digest")).await,
        &[ErrorKind::InvalidArgument],
    );
    refused(
        it.leases.add_resource(&it.scope, "l", resource("snapshots", "x")).await,
        &[ErrorKind::InvalidArgument],
    );
}

async fn what_is_made_under_a_lease_belongs_to_it(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let digest = put(&*it.content, &scope, b"held", Labels::new()).await;
    it.snapshotter.prepare(&scope, "held", None, Labels::new()).await.must("preparing");
    let snapshots = format!("snapshots/{}", it.snapshotter_name);
    assert_eq!(
        resources(it, "l").await,
        [resource("content", digest.as_str()), resource(&snapshots, "held")]
    );
    it.snapshotter.commit(&scope, "done", "held", Commit::default()).await.must("committing");
    let held = resources(it, "l").await;
    assert!(held.contains(&resource(&snapshots, "done")), "{held:?}");
}

async fn working_under_an_unknown_lease_is_refused(it: &Subject) {
    let scope = it.scope.clone().with_lease("never-created");
    refused(it.snapshotter.prepare(&scope, "k", None, Labels::new()).await, &[ErrorKind::NotFound]);
}

async fn a_lease_keeps_content(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let digest = put(&*it.content, &scope, b"kept", Labels::new()).await;
    let loose = put(&*it.content, &it.scope, b"not kept", Labels::new()).await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &digest).await.must("info of what the lease holds");
    refused(it.content.info(&it.scope, &loose).await, &[ErrorKind::NotFound]);
}

/// Stores two blobs under a scope, the second referring to the first; only the second is held.
async fn pair(it: &Subject, scope: &Scope) -> (stowd_core::Digest, stowd_core::Digest) {
    let hold = lease(it, "for-the-pair", Labels::new()).await;
    let below = put(&*it.content, &hold, b"below", Labels::new()).await;
    let refer = labels([(words::GC_REF_CONTENT, below.as_str())]);
    let above = put(&*it.content, scope, b"above", refer).await;
    it.leases.delete(&it.scope, "for-the-pair", Collect::BeforeReturn).await.must("deleting");
    (above, below)
}

async fn a_lease_keeps_what_its_content_refers_to(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let (above, below) = pair(it, &scope).await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &above).await.must("info of what the lease holds");
    it.content.info(&it.scope, &below).await.must("info of what that refers to");
}

async fn a_flat_lease_keeps_only_what_it_names(it: &Subject) {
    let scope = lease(it, "l", labels([(words::GC_FLAT, "true")])).await;
    let (above, below) = pair(it, &scope).await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &above).await.must("info of what the lease holds");
    refused(it.content.info(&it.scope, &below).await, &[ErrorKind::NotFound]);
}

async fn an_expired_lease_keeps_nothing(it: &Subject) {
    let scope = lease(it, "l", labels([(words::GC_EXPIRE, "2020-01-01T00:00:00Z")])).await;
    // A collection may come between any two calls and take the lease along.
    let digest = match put_under(it, &scope, b"stale").await {
        Some(digest) => digest,
        None => return,
    };
    collect_garbage(&*it.leases, &it.scope).await;
    refused(it.content.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    assert_eq!(ids(it, &["id==l"]).await, [""; 0]);
}

async fn put_under(it: &Subject, scope: &Scope, data: &[u8]) -> Option<stowd_core::Digest> {
    let options = WriterOptions { reference: "put".to_owned(), ..Default::default() };
    let mut writer = it.content.writer(scope, options).await.ok()?;
    writer.write(Bytes::copy_from_slice(data)).await.ok()?;
    writer.commit(content::Commit::default()).await.ok()
}

async fn a_lease_keeps_snapshots_with_their_parents(it: &Subject) {
    let hold = lease(it, "hold", Labels::new()).await;
    let scope = lease(it, "l", Labels::new()).await;
    let snapshots = &it.snapshotter;
    snapshots.prepare(&hold, "k", None, Labels::new()).await.must("preparing");
    snapshots.commit(&hold, "base", "k", Commit::default()).await.must("committing");
    snapshots.prepare(&scope, "top", Some("base"), Labels::new()).await.must("preparing");
    snapshots.prepare(&hold, "loose", Some("base"), Labels::new()).await.must("preparing");
    it.leases.delete(&it.scope, "hold", Collect::BeforeReturn).await.must("deleting");
    snapshots.stat(&it.scope, "top").await.must("what the lease holds");
    snapshots.stat(&it.scope, "base").await.must("its parent");
    refused(snapshots.stat(&it.scope, "loose").await, &[ErrorKind::NotFound]);
}

async fn a_lease_keeps_ingests(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let options = WriterOptions { reference: "kept".to_owned(), ..Default::default() };
    let mut writer = open_writer(&*it.content, &scope, options).await;
    writer.write(Bytes::from_static(b"half")).await.must("writing");
    drop(writer);
    collect_garbage(&*it.leases, &it.scope).await;
    assert_eq!(it.content.status(&it.scope, "kept").await.must("status").offset, 4);
}

async fn deleting_a_lease_frees_what_it_held(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let digest = put(&*it.content, &scope, b"freed", Labels::new()).await;
    it.snapshotter.prepare(&scope, "freed", None, Labels::new()).await.must("preparing");
    it.leases.delete(&it.scope, "l", Collect::BeforeReturn).await.must("deleting");
    refused(it.content.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    refused(it.snapshotter.stat(&it.scope, "freed").await, &[ErrorKind::NotFound]);
}

async fn taking_a_resource_out_frees_it(it: &Subject) {
    let scope = lease(it, "l", Labels::new()).await;
    let digest = put(&*it.content, &scope, b"taken out", Labels::new()).await;
    let held = resource("content", digest.as_str());
    it.leases.delete_resource(&it.scope, "l", held).await.must("taking out");
    collect_garbage(&*it.leases, &it.scope).await;
    refused(it.content.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
}

async fn a_root_label_keeps_content(it: &Subject) {
    let root = labels([(words::GC_ROOT, "2026-01-01T00:00:00Z")]);
    let digest = put(&*it.content, &it.scope, b"rooted", root).await;
    collect_garbage(&*it.leases, &it.scope).await;
    it.content.info(&it.scope, &digest).await.must("info of rooted content");
}

async fn a_root_label_keeps_what_it_refers_to(it: &Subject) {
    let hold = lease(it, "hold", Labels::new()).await;
    let below = put(&*it.content, &hold, b"layer", Labels::new()).await;
    // Clients put anything after the prefix.
    let key = format!("{}.l.17", words::GC_REF_CONTENT);
    let root = labels([(words::GC_ROOT, "x"), (&key, below.as_str())]);
    put(&*it.content, &hold, b"root", root).await;
    it.leases.delete(&it.scope, "hold", Collect::BeforeReturn).await.must("deleting");
    it.content.info(&it.scope, &below).await.must("info of what the root refers to");
}

async fn content_keeps_the_snapshots_it_refers_to(it: &Subject) {
    let hold = lease(it, "hold", Labels::new()).await;
    let snapshots = &it.snapshotter;
    for key in ["referred", "suffixed", "loose"] {
        snapshots.prepare(&hold, key, None, Labels::new()).await.must("preparing");
    }
    let prefix = format!("{}{}", words::GC_REF_SNAPSHOT, it.snapshotter_name);
    let suffixed = format!("{prefix}/anything");
    let refer = labels([(words::GC_ROOT, "x"), (&prefix, "referred"), (&suffixed, "suffixed")]);
    put(&*it.content, &hold, b"config", refer).await;
    it.leases.delete(&it.scope, "hold", Collect::BeforeReturn).await.must("deleting");
    snapshots.stat(&it.scope, "referred").await.must("the snapshot referred to");
    snapshots.stat(&it.scope, "suffixed").await.must("the snapshot referred to with a suffix");
    refused(snapshots.stat(&it.scope, "loose").await, &[ErrorKind::NotFound]);
}

async fn a_snapshot_keeps_its_parents(it: &Subject) {
    let hold = lease(it, "hold", Labels::new()).await;
    let snapshots = &it.snapshotter;
    snapshots.prepare(&hold, "k", None, Labels::new()).await.must("preparing");
    snapshots.commit(&hold, "base", "k", Commit::default()).await.must("committing");
    let root = labels([(words::GC_ROOT, "x")]);
    snapshots.view(&hold, "root", Some("base"), root).await.must("viewing");
    it.leases.delete(&it.scope, "hold", Collect::BeforeReturn).await.must("deleting");
    snapshots.stat(&it.scope, "root").await.must("the rooted view");
    snapshots.stat(&it.scope, "base").await.must("its parent");
    snapshots.remove(&it.scope, "root").await.must("removing");
    collect_garbage(&*it.leases, &it.scope).await;
    refused(snapshots.stat(&it.scope, "base").await, &[ErrorKind::NotFound]);
}

async fn circles_are_collected(it: &Subject) {
    let hold = lease(it, "hold", Labels::new()).await;
    let one = put(&*it.content, &hold, b"one", Labels::new()).await;
    let two =
        put(&*it.content, &hold, b"two", labels([(words::GC_REF_CONTENT, one.as_str())])).await;
    let mut info = it.content.info(&it.scope, &one).await.must("info");
    info.labels = labels([(words::GC_REF_CONTENT, two.as_str())]);
    it.content.update(&it.scope, info, &[]).await.must("updating");
    it.leases.delete(&it.scope, "hold", Collect::BeforeReturn).await.must("deleting");
    refused(it.content.info(&it.scope, &one).await, &[ErrorKind::NotFound]);
    refused(it.content.info(&it.scope, &two).await, &[ErrorKind::NotFound]);
}

async fn collection_stays_in_the_namespaces_that_need_it(it: &Subject) {
    it.leases.create(&it.other, "l", Labels::new()).await.must("creating");
    let there = it.other.clone().with_lease("l");
    let digest = put(&*it.content, &there, b"shared", Labels::new()).await;
    put(&*it.content, &it.scope, b"shared", Labels::new()).await;
    collect_garbage(&*it.leases, &it.scope).await;
    refused(it.content.info(&it.scope, &digest).await, &[ErrorKind::NotFound]);
    assert_eq!(super::get(&*it.content, &it.other, &digest).await, b"shared");
}
