//! Rules of `stowd_core::sandboxes::Controller`, tried with a shim that keeps sandboxes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use stowd_core::containers::{self, Container, Runtime};
use stowd_core::events::{Envelopes, Event, Exchange};
use stowd_core::filters::Filters;
use stowd_core::sandboxes::{Controller, Create, Detail, Sandbox, Store};
use stowd_core::tasks::{self, Tasks};
use stowd_core::{Any, ErrorKind, Labels, Result, Scope};

use super::{Must as _, labels, refused};

/// A controller, and what there is around it.
pub struct Subject {
    /// The controller.
    pub controller: Arc<dyn Controller>,
    /// One of a name that there is none of.
    pub unknown: Arc<dyn Controller>,
    /// One without a name.
    pub nameless: Arc<dyn Controller>,
    /// The records.
    pub sandboxes: Arc<dyn Store>,
    /// Containers in sandboxes.
    pub containers: Arc<dyn containers::Store>,
    /// Their tasks.
    pub tasks: Arc<dyn Tasks>,
    /// Where all of them tell of themselves.
    pub exchange: Arc<dyn Exchange>,
    /// A runtime whose shim keeps sandboxes: they are stopped with status 7, and those with options of
    /// the types `refuse-create` and `refuse-start` fail there.
    pub runtime: String,
    /// A namespace.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
}

super::checks!(Subject:
    controllers_go_by_name,
    an_instance_lives_from_create_to_shutdown,
    an_instance_that_ends_tells_of_it,
    an_id_is_taken_once,
    unknown_instances_are_not_found,
    an_id_must_be_an_identifier,
    an_unknown_runtime_is_refused,
    a_creation_that_fails_leaves_nothing,
    a_start_that_fails_leaves_nothing,
    what_never_started_can_be_shut_down,
    instances_belong_to_their_namespace,
    instances_are_measured,
    an_update_is_taken,
    a_task_is_made_in_its_sandbox,
    a_task_needs_its_sandboxes_instance,
);

/// What runtimes are that keep no sandboxes, for daemons that clean up behind them.
pub async fn a_runtime_without_sandboxes_is_refused(it: &Subject) {
    let runtime = Runtime { name: "io.containerd.runc.v2".to_owned(), options: None };
    let wanted = Sandbox { runtime, ..sandbox(it, "s") };
    let made = it.controller.create(&it.scope, wanted, Create::default()).await;
    refused(made, &[ErrorKind::NotImplemented]);
    create(it, "s").await;
    it.controller.shutdown(&it.scope, "s").await.must("shutting down");
}

fn sandbox(it: &Subject, id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        labels: Labels::new(),
        runtime: Runtime { name: it.runtime.clone(), options: None },
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value: Bytes::from_static(b"{}"),
        }),
        sandboxer: "shim".to_owned(),
        extensions: BTreeMap::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

fn manner(type_url: &str) -> Create {
    let options = Some(Any { type_url: type_url.to_owned(), value: Bytes::new() });
    Create { options, annotations: labels([("a", "b")]), ..Create::default() }
}

async fn create(it: &Subject, id: &str) {
    let made = it.controller.create(&it.scope, sandbox(it, id), manner("")).await;
    made.must("creating an instance");
}

async fn run(it: &Subject, id: &str) {
    create(it, id).await;
    it.controller.start(&it.scope, id).await.must("starting an instance");
}

async fn stop(it: &Subject, id: &str) {
    it.controller.stop(&it.scope, id, Duration::ZERO).await.must("stopping");
}

async fn shut_down(it: &Subject, id: &str) {
    it.controller.shutdown(&it.scope, id).await.must("shutting down");
}

async fn listen(it: &Subject) -> Envelopes {
    let filter = format!("namespace=={},topic~=|^/sandboxes/|", it.scope.namespace);
    let filters = Filters::parse(&[filter]).must("a filter");
    let stream = it.exchange.subscribe(filters).await.must("subscribing");
    // Over a socket, the subscription begins some time after the call.
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream
}

async fn next(events: &mut Envelopes) -> Event {
    let next = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
    next.ok().flatten().unwrap_or_else(|| panic!("an event did not come")).must("an event").event
}

fn is_gone(state: &str) {
    assert_eq!(state, "", "an instance is still there");
}

async fn controllers_go_by_name(it: &Subject) {
    for id in ["x", ""] {
        refused(it.unknown.shutdown(&it.scope, id).await, &[ErrorKind::NotFound]);
        refused(it.nameless.shutdown(&it.scope, id).await, &[ErrorKind::InvalidArgument]);
        refused(it.unknown.wait(&it.scope, id).await, &[ErrorKind::NotFound]);
        refused(
            it.nameless.status(&it.scope, id, Detail::Plain).await,
            &[ErrorKind::InvalidArgument],
        );
    }
    let made = it.unknown.create(&it.scope, sandbox(it, "s"), Create::default()).await;
    refused(made, &[ErrorKind::NotFound]);
}

async fn an_instance_lives_from_create_to_shutdown(it: &Subject) {
    let mut events = listen(it).await;
    create(it, "s").await;
    assert_eq!(next(&mut events).await, Event::SandboxCreate { sandbox_id: "s".to_owned() });
    let started = it.controller.start(&it.scope, "s").await.must("starting");
    assert!(started.pid != 0, "no pid");
    assert!(started.created > SystemTime::UNIX_EPOCH, "no time of creation");
    assert_eq!(next(&mut events).await, Event::SandboxStart { sandbox_id: "s".to_owned() });
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    assert_eq!((&*status.state, status.pid), ("SANDBOX_READY", started.pid));
    assert_eq!(status.info, Labels::new());
    let status = it.controller.status(&it.scope, "s", Detail::Verbose).await.must("the status");
    assert_eq!(status.info, labels([("some", "thing")]));
    let (ended, ()) = tokio::join!(it.controller.wait(&it.scope, "s"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop(it, "s").await;
    });
    let exit = ended.must("waiting");
    assert_eq!(exit.status, 7);
    let exited =
        Event::SandboxExit { sandbox_id: "s".to_owned(), exit_status: 7, exited_at: exit.at };
    assert_eq!(next(&mut events).await, exited);
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    assert_eq!((&*status.state, status.exited), ("SANDBOX_NOTREADY", Some(exit.at)));
    assert_eq!(it.controller.wait(&it.scope, "s").await.must("waiting again"), exit);
    shut_down(it, "s").await;
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    is_gone(&status.state);
    refused(it.controller.shutdown(&it.scope, "s").await, &[ErrorKind::NotFound]);
    create(it, "s").await;
    shut_down(it, "s").await;
}

async fn an_instance_that_ends_tells_of_it(it: &Subject) {
    let mut events = listen(it).await;
    run(it, "s").await;
    // containerd tells of an exit only when somebody waits for it.
    let (ended, ()) = tokio::join!(it.controller.wait(&it.scope, "s"), stop(it, "s"));
    let exit = ended.must("waiting");
    next(&mut events).await;
    next(&mut events).await;
    let told = next(&mut events).await;
    assert!(
        matches!(&told, Event::SandboxExit { exited_at, .. } if *exited_at == exit.at),
        "{told:?}"
    );
    shut_down(it, "s").await;
}

async fn an_id_is_taken_once(it: &Subject) {
    create(it, "s").await;
    let again = it.controller.create(&it.scope, sandbox(it, "s"), Create::default()).await;
    refused(again, &[ErrorKind::AlreadyExists]);
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    assert_eq!(status.state, "SANDBOX_READY");
    shut_down(it, "s").await;
}

async fn unknown_instances_are_not_found(it: &Subject) {
    let absent = &[ErrorKind::NotFound];
    // containerd loses the kind of this one.
    let kinds = &[ErrorKind::NotFound, ErrorKind::Unknown];
    refused(it.controller.start(&it.scope, "x").await, kinds);
    refused(it.controller.wait(&it.scope, "x").await, absent);
    refused(it.controller.shutdown(&it.scope, "x").await, absent);
    refused(it.controller.metrics(&it.scope, "x").await, absent);
    // containerd has the method but does not serve it.
    let kinds = &[ErrorKind::NotFound, ErrorKind::NotImplemented];
    refused(it.controller.platform(&it.scope, "x").await, kinds);
    stop(it, "x").await;
    let status = it.controller.status(&it.scope, "x", Detail::Plain).await.must("the status");
    is_gone(&status.state);
    assert!(status.exited.is_some(), "no time of its end");
}

async fn an_id_must_be_an_identifier(it: &Subject) {
    for id in ["", "..", "a/b"] {
        let made = it.controller.create(&it.scope, sandbox(it, id), Create::default()).await;
        refused(made, &[ErrorKind::InvalidArgument]);
    }
}

async fn an_unknown_runtime_is_refused(it: &Subject) {
    for name in ["", "/nonexistent/shim", "io.containerd.nonexistent.v1"] {
        let runtime = Runtime { name: name.to_owned(), options: None };
        let wanted = Sandbox { runtime, ..sandbox(it, "s") };
        let made = it.controller.create(&it.scope, wanted, Create::default()).await;
        assert!(made.is_err(), "a sandbox was made by {name:?}");
    }
    create(it, "s").await;
    shut_down(it, "s").await;
}

async fn a_creation_that_fails_leaves_nothing(it: &Subject) {
    let mut events = listen(it).await;
    let refuse = manner("refuse-create");
    let made = it.controller.create(&it.scope, sandbox(it, "s"), refuse).await;
    refused(made, &[ErrorKind::InvalidArgument]);
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    is_gone(&status.state);
    create(it, "s").await;
    assert_eq!(next(&mut events).await, Event::SandboxCreate { sandbox_id: "s".to_owned() });
    shut_down(it, "s").await;
}

async fn a_start_that_fails_leaves_nothing(it: &Subject) {
    let refuse = manner("refuse-start");
    it.controller.create(&it.scope, sandbox(it, "s"), refuse).await.must("creating");
    refused(it.controller.start(&it.scope, "s").await, &[ErrorKind::FailedPrecondition]);
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    is_gone(&status.state);
    run(it, "s").await;
    stop(it, "s").await;
    shut_down(it, "s").await;
}

async fn what_never_started_can_be_shut_down(it: &Subject) {
    create(it, "s").await;
    shut_down(it, "s").await;
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    is_gone(&status.state);
}

async fn instances_belong_to_their_namespace(it: &Subject) {
    run(it, "s").await;
    refused(it.controller.wait(&it.other, "s").await, &[ErrorKind::NotFound]);
    refused(it.controller.shutdown(&it.other, "s").await, &[ErrorKind::NotFound]);
    refused(it.controller.metrics(&it.other, "s").await, &[ErrorKind::NotFound]);
    it.controller.stop(&it.other, "s", Duration::ZERO).await.must("stopping nothing");
    let status = it.controller.status(&it.other, "s", Detail::Plain).await.must("the status");
    is_gone(&status.state);
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    assert_eq!(status.state, "SANDBOX_READY");
    stop(it, "s").await;
    shut_down(it, "s").await;
}

async fn instances_are_measured(it: &Subject) {
    run(it, "s").await;
    let metric = it.controller.metrics(&it.scope, "s").await.must("measuring");
    assert_eq!((&*metric.id, &*metric.data.type_url), ("s", "numbers"));
    match it.controller.platform(&it.scope, "s").await {
        Ok(platform) => assert_eq!(platform.architecture, "riscv64"),
        // containerd has the method but does not serve it.
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}"),
    }
    shut_down(it, "s").await;
}

async fn an_update_is_taken(it: &Subject) {
    run(it, "s").await;
    let fields = ["labels".to_owned()];
    it.controller.update(&it.scope, sandbox(it, "s"), &fields).await.must("updating");
    shut_down(it, "s").await;
}

/// Makes a container in a sandbox whose own runtime could not run it.
async fn create_task(it: &Subject, id: &str, sandbox_id: &str) -> Result<u32> {
    let container = Container {
        sandbox_id: sandbox_id.to_owned(),
        runtime: Runtime { name: "/nonexistent/shim".to_owned(), options: None },
        ..super::containers::container(id, "{}")
    };
    it.containers.create(&it.scope, container).await.must("creating a container");
    let create = tasks::Create { container_id: id.to_owned(), ..tasks::Create::default() };
    it.tasks.create(&it.scope, create).await
}

async fn a_task_is_made_in_its_sandbox(it: &Subject) {
    it.sandboxes.create(&it.scope, sandbox(it, "s")).await.must("a record");
    run(it, "s").await;
    let pid = create_task(it, "c", "s").await.must("creating a task");
    let got = it.tasks.get(&it.scope, "c", "").await.must("the task");
    assert_eq!((got.pid, got.status), (pid, tasks::Status::Running));
    let container = it.containers.get(&it.scope, "c").await.must("the container");
    assert_eq!(container.sandbox_id, "s");
    it.tasks.delete(&it.scope, "c", "").await.must("deleting the task");
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    // The sandbox is still there.
    let status = it.controller.status(&it.scope, "s", Detail::Plain).await.must("the status");
    assert_eq!(status.state, "SANDBOX_READY");
    stop(it, "s").await;
    shut_down(it, "s").await;
}

async fn a_task_needs_its_sandboxes_instance(it: &Subject) {
    it.sandboxes.create(&it.scope, sandbox(it, "s")).await.must("a record");
    refused(create_task(it, "c", "s").await, &[ErrorKind::NotFound]);
}
