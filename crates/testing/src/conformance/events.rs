//! Rules of `stowd_core::events`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use stowd_core::descriptor::media_type;
use stowd_core::events::{Envelope, Envelopes, Event, Exchange};
use stowd_core::filters::Filters;
use stowd_core::images::{self, Delete, Image};
use stowd_core::snapshots::{self, Snapshotter};
use stowd_core::{
    Any, Descriptor, Digest, ErrorKind, Labels, Scope, containers, content, namespaces,
};

use super::{Must as _, labels, put, refused};

/// An exchange, and what publishes to it.
pub struct Subject {
    /// The exchange.
    pub exchange: Arc<dyn Exchange>,
    /// Tells of its images.
    pub images: Arc<dyn images::Store>,
    /// Tells of its containers.
    pub containers: Arc<dyn containers::Store>,
    /// Tells of its namespaces.
    pub namespaces: Arc<dyn namespaces::Store>,
    /// Tells of its blobs.
    pub content: Arc<dyn content::Store>,
    /// Tells of its snapshots.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// The snapshotter's name.
    pub snapshotter_name: String,
    /// A namespace, under a lease that keeps garbage collection away.
    pub scope: Scope,
    /// Another namespace, likewise.
    pub other: Scope,
}

super::checks!(Subject:
    what_is_published_arrives,
    events_arrive_in_order,
    every_subscriber_gets_every_event,
    there_is_no_replay,
    a_topic_must_be_a_path,
    filters_select_by_topic,
    filters_select_by_namespace,
    filters_look_into_events,
    one_filter_of_several_suffices,
    a_bad_filter_is_refused,
    forwarded_events_keep_time_and_namespace,
    unknown_events_pass_unchanged,
    images_tell_of_themselves,
    containers_tell_of_themselves,
    namespaces_tell_of_themselves,
    content_tells_of_itself,
    snapshots_tell_of_themselves,
    refused_calls_tell_nothing,
);

async fn subscribe(it: &Subject, filters: &[&str]) -> Envelopes {
    let filters = Filters::parse(filters).must("a filter");
    let stream = it.exchange.subscribe(filters).await.must("subscribing");
    // Over a socket, the answer to a subscription says nothing until there is an event.
    tokio::time::sleep(Duration::from_millis(150)).await;
    stream
}

async fn mine(it: &Subject) -> Envelopes {
    subscribe(it, &[&format!("namespace=={}", it.scope.namespace)]).await
}

async fn next(stream: &mut Envelopes) -> Envelope {
    tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("an event within ten seconds")
        .expect("the stream goes on")
        .must("an event")
}

async fn nothing(stream: &mut Envelopes) {
    let more = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(more.is_err(), "an event that nobody expected: {more:?}");
}

fn named(name: &str) -> Event {
    Event::ImageDelete { name: name.to_owned() }
}

async fn publish(it: &Subject, topic: &str, event: Event) {
    it.exchange.publish(&it.scope.namespace, topic, event).await.must("publishing");
}

async fn what_is_published_arrives(it: &Subject) {
    let mut stream = mine(it).await;
    let before = SystemTime::now() - Duration::from_secs(1);
    let event = Event::ImageCreate { name: "a".to_owned(), labels: labels([("k", "v")]) };
    publish(it, "/test/topic", event.clone()).await;
    let envelope = next(&mut stream).await;
    assert_eq!(envelope.topic, "/test/topic");
    assert_eq!(envelope.namespace, it.scope.namespace);
    assert_eq!(envelope.event, event);
    assert!(envelope.timestamp >= before, "{:?}", envelope.timestamp);
}

async fn events_arrive_in_order(it: &Subject) {
    let mut stream = mine(it).await;
    for number in 0..200 {
        publish(it, "/test/order", named(&number.to_string())).await;
    }
    for number in 0..200 {
        assert_eq!(next(&mut stream).await.event, named(&number.to_string()));
    }
}

async fn every_subscriber_gets_every_event(it: &Subject) {
    let (mut one, mut two) = (mine(it).await, mine(it).await);
    publish(it, "/test/all", named("a")).await;
    assert_eq!(next(&mut one).await.event, named("a"));
    assert_eq!(next(&mut two).await.event, named("a"));
    drop(one);
    publish(it, "/test/all", named("b")).await;
    assert_eq!(next(&mut two).await.event, named("b"));
}

async fn there_is_no_replay(it: &Subject) {
    publish(it, "/test/before", named("a")).await;
    let mut stream = mine(it).await;
    publish(it, "/test/after", named("b")).await;
    assert_eq!(next(&mut stream).await.event, named("b"));
}

async fn a_topic_must_be_a_path(it: &Subject) {
    for topic in ["", "no-slash", "/", "/a//b", "/a/b!"] {
        let result = it.exchange.publish(&it.scope.namespace, topic, named("a")).await;
        refused(result, &[ErrorKind::InvalidArgument]);
    }
}

async fn filters_select_by_topic(it: &Subject) {
    let namespace = &it.scope.namespace;
    let mut exact = subscribe(it, &[&format!("namespace=={namespace},topic==\"/test/a\"")]).await;
    let mut start = subscribe(it, &[&format!("namespace=={namespace},topic~=|^/test/|")]).await;
    publish(it, "/other/a", named("1")).await;
    publish(it, "/test/b", named("2")).await;
    publish(it, "/test/a", named("3")).await;
    assert_eq!(next(&mut exact).await.event, named("3"));
    assert_eq!(next(&mut start).await.event, named("2"));
    assert_eq!(next(&mut start).await.event, named("3"));
    nothing(&mut exact).await;
}

async fn filters_select_by_namespace(it: &Subject) {
    let mut here = mine(it).await;
    it.exchange
        .publish(&it.other.namespace, "/test/there", named("there"))
        .await
        .must("publishing");
    publish(it, "/test/here", named("here")).await;
    assert_eq!(next(&mut here).await.event, named("here"));
    nothing(&mut here).await;
}

async fn filters_look_into_events(it: &Subject) {
    let namespace = &it.scope.namespace;
    let mut stream = subscribe(it, &[&format!("namespace=={namespace},event.name==b")]).await;
    publish(it, "/test/a", named("a")).await;
    publish(it, "/test/b", named("b")).await;
    assert_eq!(next(&mut stream).await.event, named("b"));
    nothing(&mut stream).await;
}

async fn one_filter_of_several_suffices(it: &Subject) {
    let namespace = &it.scope.namespace;
    let (one, two) = (
        format!("namespace=={namespace},topic==\"/test/a\""),
        format!("namespace=={namespace},topic==\"/test/c\""),
    );
    let mut stream = subscribe(it, &[&one, &two]).await;
    for topic in ["/test/a", "/test/b", "/test/c"] {
        publish(it, topic, named(topic)).await;
    }
    assert_eq!(next(&mut stream).await.event, named("/test/a"));
    assert_eq!(next(&mut stream).await.event, named("/test/c"));
    nothing(&mut stream).await;
}

async fn a_bad_filter_is_refused(_: &Subject) {
    // A filter that cannot be parsed never becomes `Filters`; services answer with this kind.
    refused(Filters::parse(&["topic=="]), &[ErrorKind::InvalidArgument]);
}

async fn forwarded_events_keep_time_and_namespace(it: &Subject) {
    let namespace = &it.other.namespace;
    let mut stream = subscribe(it, &[&format!("namespace=={namespace}")]).await;
    let timestamp = SystemTime::UNIX_EPOCH + Duration::new(1_500_000_000, 500_000_000);
    let envelope = Envelope {
        timestamp,
        namespace: namespace.clone(),
        topic: "/tasks/oom".to_owned(),
        event: Event::TaskOOM { container_id: "c".to_owned() },
    };
    it.exchange.forward(envelope.clone()).await.must("forwarding");
    assert_eq!(next(&mut stream).await, envelope);
}

async fn unknown_events_pass_unchanged(it: &Subject) {
    let mut stream = mine(it).await;
    let event = Event::Other(Any {
        type_url: "example.org/never.Heard".to_owned(),
        value: Bytes::from_static(b"\x0a\x03abc"),
    });
    publish(it, "/test/unknown", event.clone()).await;
    assert_eq!(next(&mut stream).await.event, event);
}

async fn images_tell_of_themselves(it: &Subject) {
    let mut stream = mine(it).await;
    let name = || "test.example/a:1".to_owned();
    let now = SystemTime::UNIX_EPOCH;
    let image = Image {
        name: name(),
        target: Descriptor::new(media_type::MANIFEST, Digest::of(b"x"), 1),
        labels: labels([("k", "v")]),
        created: now,
        updated: now,
    };
    it.images.create(&it.scope, image.clone()).await.must("creating");
    let changed = Image { labels: labels([("k", "w")]), ..image };
    it.images.update(&it.scope, changed, &["labels".to_owned()]).await.must("updating");
    it.images.delete(&it.scope, &name(), Delete::default()).await.must("deleting");
    let create = next(&mut stream).await;
    assert_eq!(create.topic, "/images/create");
    assert_eq!(create.event, Event::ImageCreate { name: name(), labels: labels([("k", "v")]) });
    let update = next(&mut stream).await;
    assert_eq!(update.topic, "/images/update");
    assert_eq!(update.event, Event::ImageUpdate { name: name(), labels: labels([("k", "w")]) });
    let delete = next(&mut stream).await;
    assert_eq!((delete.topic.as_str(), delete.event), ("/images/delete", named(&name())));
}

async fn containers_tell_of_themselves(it: &Subject) {
    let mut stream = mine(it).await;
    let made = it
        .containers
        .create(&it.scope, super::containers::container("c", "{}"))
        .await
        .must("creating");
    let changed = containers::Container { labels: labels([("k", "v")]), ..made };
    it.containers.update(&it.scope, changed, &["labels".to_owned()]).await.must("updating");
    it.containers.delete(&it.scope, "c").await.must("deleting");
    match next(&mut stream).await.event {
        Event::ContainerCreate { id, image, runtime } => {
            assert_eq!((id.as_str(), image.as_str()), ("c", "test.example/image:1"));
            assert_eq!(runtime.name, "io.containerd.runc.v2");
        }
        other => panic!("not a creation: {other:?}"),
    }
    match next(&mut stream).await.event {
        Event::ContainerUpdate { id, labels: with, .. } => {
            assert_eq!((id.as_str(), with), ("c", labels([("k", "v")])));
        }
        other => panic!("not an update: {other:?}"),
    }
    assert_eq!(next(&mut stream).await.event, Event::ContainerDelete { id: "c".to_owned() });
}

async fn namespaces_tell_of_themselves(it: &Subject) {
    let name = stowd_core::Namespace::new(format!("{}-n", it.scope.namespace)).must("a name");
    let text = || name.as_str().to_owned();
    // In whose namespace such events are told differs between versions: their name is unique.
    let mut stream = subscribe(it, &["topic~=|^/namespaces/|"]).await;
    it.namespaces.create(&name, labels([("k", "v")])).await.must("creating");
    it.namespaces
        .update(&name, labels([("k", "w")]), &["labels.k".to_owned()])
        .await
        .must("updating");
    it.namespaces.delete(&name).await.must("deleting");
    let mut events = Vec::new();
    while events.len() < 3 {
        let event = next(&mut stream).await.event;
        let subject = match &event {
            Event::NamespaceCreate { name, .. }
            | Event::NamespaceUpdate { name, .. }
            | Event::NamespaceDelete { name } => name,
            other => panic!("not about a namespace: {other:?}"),
        };
        if *subject == text() {
            events.push(event);
        }
    }
    let expected = [
        Event::NamespaceCreate { name: text(), labels: labels([("k", "v")]) },
        Event::NamespaceUpdate { name: text(), labels: labels([("k", "w")]) },
        Event::NamespaceDelete { name: text() },
    ];
    assert_eq!(events, expected);
}

async fn content_tells_of_itself(it: &Subject) {
    let namespace = &it.scope.namespace;
    let mut stream = subscribe(it, &[&format!("namespace=={namespace},topic~=|^/content/|")]).await;
    let digest = put(&*it.content, &it.scope, b"told", Labels::new()).await;
    it.content.delete(&it.scope, &digest).await.must("deleting");
    // Older versions tell of deletions only.
    let mut event = next(&mut stream).await.event;
    if let Event::ContentCreate { digest: told, size } = &event {
        assert_eq!((told.as_str(), *size), (digest.as_str(), 4));
        event = next(&mut stream).await.event;
    }
    assert_eq!(event, Event::ContentDelete { digest: digest.as_str().to_owned() });
}

async fn snapshots_tell_of_themselves(it: &Subject) {
    let mut stream = mine(it).await;
    let snapshotter = || it.snapshotter_name.clone();
    it.snapshotter.prepare(&it.scope, "k", None, Labels::new()).await.must("preparing");
    it.snapshotter
        .commit(&it.scope, "n", "k", snapshots::Commit::default())
        .await
        .must("committing");
    it.snapshotter.prepare(&it.scope, "k", Some("n"), Labels::new()).await.must("preparing");
    it.snapshotter.remove(&it.scope, "k").await.must("removing");
    let key = || "k".to_owned();
    let expected = [
        Event::SnapshotPrepare { key: key(), parent: String::new(), snapshotter: snapshotter() },
        Event::SnapshotCommit { key: key(), name: "n".to_owned(), snapshotter: snapshotter() },
        Event::SnapshotPrepare { key: key(), parent: "n".to_owned(), snapshotter: snapshotter() },
        Event::SnapshotRemove { key: key(), snapshotter: snapshotter() },
    ];
    for event in expected {
        let told = next(&mut stream).await;
        assert_eq!(Some(told.topic.as_str()), event.topic());
        assert_eq!(told.event, event);
    }
}

async fn refused_calls_tell_nothing(it: &Subject) {
    let mut stream = mine(it).await;
    refused(
        it.images.delete(&it.scope, "nothing", Delete::default()).await,
        &[ErrorKind::NotFound],
    );
    refused(it.snapshotter.remove(&it.scope, "nothing").await, &[ErrorKind::NotFound]);
    refused(it.containers.delete(&it.scope, "nothing").await, &[ErrorKind::NotFound]);
    nothing(&mut stream).await;
}
