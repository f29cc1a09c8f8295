//! The proxies against unmodified containerd, and against stowd where it is built: what the
//! conformance suites of `testing` do not reach.

#![allow(clippy::unwrap_used, reason = "a failure here is the report")]

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures_util::StreamExt;
use stowd_core::content::{Commit, Store as _, WriterOptions};
use stowd_core::events::{Event, Exchange as _};
use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete, Image, Store as _};
use stowd_core::introspection::Introspection as _;
use stowd_core::leases::Store as _;
use stowd_core::namespaces::Store as _;
use stowd_core::progress::{Progress, Sink};
use stowd_core::transfer::{
    Credentials, Destination, Export, RegistryRef, Secret, Source, Store, Transfer as _,
};
use stowd_core::{Descriptor, Digest, ErrorKind, Labels, Namespace, Result, Scope};
use stowd_proxy::{Connection, Serving};
use stowd_testing::daemon::Kind;
use stowd_testing::gates::met;
use stowd_testing::registry::{Access, Transport};
use stowd_testing::{Daemon, Need, Registry, Scratch, Version, image};

/// Dropped from top to bottom: the scratch folder last, which then looks for what was left.
struct Bench {
    connection: Connection,
    scope: Scope,
    _daemon: Daemon,
    scratch: Scratch,
}

impl Bench {
    async fn new(kind: Kind) -> Self {
        let scratch = Scratch::new();
        let daemon = Daemon::start(kind, &scratch, "");
        let connection = stowd_proxy::connect(daemon.socket()).await.unwrap();
        let scope = Scope::new(Namespace::new(daemon.namespace()).unwrap());
        connection.leases().create(&scope, "held", Labels::new()).await.unwrap();
        Self { connection, scope: scope.with_lease("held"), _daemon: daemon, scratch }
    }
}

/// Remembers what it is told.
#[derive(Default)]
struct Reports(Mutex<Vec<Progress>>);

impl Sink for Reports {
    fn report(&self, progress: Progress) {
        self.0.lock().unwrap().push(progress);
    }
}

/// A file that more than one can write to, to be read afterwards.
#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn says_what_it_is(kind: Kind) {
    let bench = Bench::new(kind).await;
    assert_eq!(bench.connection.serving().await.unwrap(), Serving::Yes);
    let daemon = bench.connection.introspection();
    assert!(!daemon.version().await.unwrap().version.is_empty());
    let server = daemon.server().await.unwrap();
    assert!(!server.uuid.is_empty() && server.pid > 0 && server.pid_namespace > 0);
    let snapshotters = Filters::parse(&["type==io.containerd.snapshotter.v1"]).unwrap();
    let plugins = daemon.plugins(&snapshotters).await.unwrap();
    assert!(plugins.iter().any(|plugin| plugin.id == "overlayfs" && plugin.init_error.is_none()));
}

async fn keeps_namespaces(kind: Kind) {
    let bench = Bench::new(kind).await;
    let namespaces = bench.connection.namespaces();
    let name = Namespace::new(bench.scratch.name("n")).unwrap();
    let label = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
    namespaces.create(&name, label("a", "1")).await.unwrap();
    let again = namespaces.create(&name, Labels::new()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    let fields = ["labels.b".to_owned()];
    let labels = namespaces.update(&name, label("b", "2"), &fields).await.unwrap();
    assert_eq!(labels.get("b").unwrap(), "2");
    assert_eq!(namespaces.get(&name).await.unwrap().len(), 2);
    assert!(namespaces.list().await.unwrap().iter().any(|(other, _)| *other == name));
    namespaces.delete(&name).await.unwrap();
    assert_eq!(namespaces.get(&name).await.unwrap(), Labels::new());
    let gone = namespaces.delete(&name).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
    assert!(gone.message().contains(name.as_str()), "{gone}");
}

async fn lets_go_of_an_ingest_at_once(kind: Kind) {
    let bench = Bench::new(kind).await;
    let content = bench.connection.content();
    let data = Bytes::from(vec![7; 9 << 20]);
    let digest = Digest::of(&data);
    let options = WriterOptions {
        reference: "again".to_owned(),
        total: Some(data.len() as u64),
        expected: Some(digest.clone()),
    };
    for piece in 0..9_usize {
        let mut writer = content.writer(&bench.scope, options.clone()).await.unwrap();
        assert_eq!(writer.status().offset, (piece as u64) << 20);
        assert_eq!(writer.status().total, data.len() as u64);
        writer.write(data.slice(piece << 20..(piece + 1) << 20)).await.unwrap();
    }
    let held = content.writer(&bench.scope, options.clone()).await.unwrap();
    let other = stowd_proxy::connect(bench.connection.path()).await.unwrap().content();
    let locked = other.writer(&bench.scope, options.clone()).await.err().unwrap();
    assert_eq!(locked.kind(), ErrorKind::Unavailable, "{locked}");
    drop(held);

    let mut writer = content.writer(&bench.scope, options.clone()).await.unwrap();
    assert_eq!(writer.truncate(5).await.unwrap_err().kind(), ErrorKind::NotImplemented);
    writer.truncate(0).await.unwrap();
    assert_eq!(writer.status().offset, 0);
    writer.write(data.clone()).await.unwrap();
    let commit = Commit { expected: Some(digest.clone()), ..Commit::default() };
    assert_eq!(writer.commit(commit).await.unwrap(), digest);
    let exists = content.writer(&bench.scope, options).await.err().unwrap();
    assert_eq!(exists.kind(), ErrorKind::AlreadyExists, "{exists}");

    let blob = content.open(&bench.scope, &digest).await.unwrap();
    assert_eq!(blob.read_at(0, usize::MAX).await.unwrap(), data);
    assert_eq!(blob.read_at(data.len() as u64 - 3, 100).await.unwrap().len(), 3);
    assert!(blob.read_at(data.len() as u64, 1).await.unwrap().is_empty());
    assert_eq!(blob.read_at(5, 0).await.unwrap(), Bytes::new());
}

/// Waits until a subscription stands, which containerd tells nobody.
async fn subscribed(kind: Kind) {
    if kind != Kind::Stowd {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

async fn forwards_events_as_they_are(kind: Kind) {
    let bench = Bench::new(kind).await;
    let exchange = bench.connection.events();
    let filters = Filters::parse(&["topic==\"/tasks/exit\",event.container_id==c"]).unwrap();
    let mut events = exchange.subscribe(filters).await.unwrap();
    subscribed(kind).await;
    let namespace = &bench.scope.namespace;
    for container_id in ["b", "c"] {
        let event = Event::TaskExit {
            container_id: container_id.to_owned(),
            id: "e".to_owned(),
            pid: 7,
            exit_status: 137,
            exited_at: UNIX_EPOCH,
        };
        exchange.publish(namespace, "/tasks/exit", event).await.unwrap();
    }
    let envelope = events.next().await.unwrap().unwrap();
    assert_eq!((&envelope.namespace, &*envelope.topic), (namespace, "/tasks/exit"));
    let Event::TaskExit { container_id, exit_status, .. } = &envelope.event else {
        panic!("{envelope:?}")
    };
    assert_eq!((&**container_id, *exit_status), ("c", 137));
    exchange.forward(envelope.clone()).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap(), envelope);

    // Image events have a type of another package than all others.
    let filters = Filters::parse(&["topic==\"/images/create\""]).unwrap();
    let mut events = exchange.subscribe(filters).await.unwrap();
    subscribed(kind).await;
    let image = Image {
        name: "an-image".to_owned(),
        target: Descriptor::new("x/y", Digest::of(b"x"), 1),
        labels: Labels::new(),
        created: UNIX_EPOCH,
        updated: UNIX_EPOCH,
    };
    bench.connection.images().create(&bench.scope, image).await.unwrap();
    let envelope = events.next().await.unwrap().unwrap();
    assert!(matches!(&envelope.event, Event::ImageCreate { name, .. } if name == "an-image"));
    let delete = Delete { collect: Collect::BeforeReturn, target: Some(Digest::of(b"y")) };
    let other = bench.connection.images().delete(&bench.scope, "an-image", delete).await;
    assert!(other.unwrap_err().is_not_found());
}

async fn imports_tags_and_exports(kind: Kind) {
    let bench = Bench::new(kind).await;
    let transfer = bench.connection.transfer();
    let archive = bench.scratch.join("image.tar");
    image::Image::busybox().write_oci_archive(&archive, "example.org/box:1");
    let reports = Arc::new(Reports::default());
    let rule = stowd_core::transfer::NameRule {
        name: "example.org/box".to_owned(),
        is_prefix: true,
        ..Default::default()
    };
    let store = Store { extra_names: vec![rule], ..Store::default() };
    let source = Source::Archive(Box::new(File::open(&archive).unwrap()));
    transfer
        .transfer(&bench.scope, source, Destination::Images(store), reports.clone())
        .await
        .unwrap();
    assert!(!reports.0.lock().unwrap().is_empty());
    let images = bench.connection.images();
    let imported = images.get(&bench.scope, "example.org/box:1").await.unwrap();

    let source = Source::Images(vec![imported.name.clone()]);
    let tag = Store { name: "example.org/box:2".to_owned(), ..Store::default() };
    let silent = || Arc::new(stowd_core::progress::Silent);
    transfer.transfer(&bench.scope, source, Destination::Images(tag), silent()).await.unwrap();
    let tagged = images.get(&bench.scope, "example.org/box:2").await.unwrap();
    assert_eq!(tagged.target.digest, imported.target.digest);

    let written = Shared(Arc::default());
    let source = Source::Images(vec![imported.name, tagged.name]);
    let destination = Destination::Archive(Box::new(written.clone()), Export::default());
    transfer.transfer(&bench.scope, source, destination, silent()).await.unwrap();
    let exported = std::mem::take(&mut *written.0.lock().unwrap());
    let length = std::fs::metadata(&archive).unwrap().len() as usize;
    // The same blobs, and another index; a tar ends in zeros.
    assert!(exported.len() > length / 2, "{} of {length} bytes", exported.len());
    assert!(exported.ends_with(&[0; 1024]));

    let damaged = Source::Archive(Box::new(std::io::repeat(7).take(100_000)));
    let refused = transfer
        .transfer(&bench.scope, damaged, Destination::Images(Store::default()), silent())
        .await;
    assert!(refused.is_err());
}

/// Knows one user.
struct User(Access);

#[async_trait::async_trait]
impl Credentials for User {
    async fn secret(&self, _: &str, _: &str) -> Result<Option<Secret>> {
        Ok((self.0 == Access::Password).then(|| Secret::Basic {
            username: stowd_testing::registry::USER.to_owned(),
            password: stowd_testing::registry::PASSWORD.to_owned(),
        }))
    }
}

async fn pulls_and_pushes_with_a_password(kind: Kind) {
    let bench = Bench::new(kind).await;
    let registry = Registry::start_with(&bench.scratch, Transport::Plain, Access::Password);
    let name = registry.push("box", "1", &image::Image::busybox());
    let transfer = bench.connection.transfer();
    let at = |reference: &str, access| RegistryRef {
        reference: reference.to_owned(),
        plain_http: true,
        credentials: Some(Arc::new(User(access))),
        ..RegistryRef::default()
    };
    let silent = || Arc::new(stowd_core::progress::Silent);
    let store = || Destination::Images(Store { name: name.clone(), ..Store::default() });

    let nobody = Source::Registry(at(&name, Access::Open));
    assert!(transfer.transfer(&bench.scope, nobody, store(), silent()).await.is_err());

    let reports = Arc::new(Reports::default());
    let user = Source::Registry(at(&name, Access::Password));
    transfer.transfer(&bench.scope, user, store(), reports.clone()).await.unwrap();
    let image = bench.connection.images().get(&bench.scope, &name).await.unwrap();
    let blobs = std::mem::take(&mut *reports.0.lock().unwrap());
    assert!(blobs.iter().any(|report| {
        report.descriptor.as_ref().is_some_and(|it| it.digest == image.target.digest)
    }));

    let copy = name.replace("box:1", "copy:1");
    let source = Source::Images(vec![name.clone()]);
    let destination = Destination::Registry(at(&copy, Access::Password));
    transfer.transfer(&bench.scope, source, destination, silent()).await.unwrap();
    let again = Source::Registry(at(&copy, Access::Password));
    let store = Destination::Images(Store { name: copy.clone(), ..Store::default() });
    transfer.transfer(&bench.scope, again, store, silent()).await.unwrap();
    let copied = bench.connection.images().get(&bench.scope, &copy).await.unwrap();
    assert_eq!(copied.target.digest, image.target.digest);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let error = stowd_proxy::connect(folder.path().join("no.sock")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no.sock") && error.hint_text().is_some());
    let lazy = stowd_proxy::connect_lazy(folder.path().join("no.sock")).unwrap();
    assert_eq!(lazy.serving().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

macro_rules! daemons {
    ($($test:ident),+ $(,)?) => {
        daemons!(@ containerd, Kind::Containerd(Version::V2), &[Need::Root, Need::Clients]; $($test)+);
        daemons!(@ stowd, Kind::Stowd, &[Need::Root, Need::Clients, Need::Stowd]; $($test)+);
    };
    (@ $module:ident, $kind:expr, $needs:expr; $($test:ident)+) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if met(concat!(stringify!($module), "::", stringify!($test)), $needs) {
                    super::$test($kind).await;
                }
            })+
        }
    };
}

daemons!(
    says_what_it_is,
    keeps_namespaces,
    lets_go_of_an_ingest_at_once,
    forwards_events_as_they_are,
    imports_tags_and_exports,
    pulls_and_pushes_with_a_password,
);
