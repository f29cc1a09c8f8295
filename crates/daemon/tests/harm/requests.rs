//! Requests that make no sense, over the socket.

use std::time::SystemTime;

use stowd_core::containers::{Container, Runtime, SPEC_TYPE, Store as _};
use stowd_core::tasks::{Create, Tasks as _};
use stowd_core::{Any, ErrorKind, Labels, Namespace, Scope};
use stowd_proxy::Connection;
use stowd_testing::{Daemon, Scratch, need};

use crate::{assert_no_tasks_left, assert_unharmed, import};

fn container(id: &str, spec: Vec<u8>) -> Container {
    Container {
        id: id.to_owned(),
        labels: Labels::new(),
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(Any { type_url: SPEC_TYPE.to_owned(), value: spec.into() }),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: std::collections::BTreeMap::new(),
        sandbox_id: String::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

async fn connect(daemon: &Daemon) -> (Connection, Scope) {
    let connection = stowd_proxy::connect(daemon.socket()).await.unwrap();
    (connection, Scope::new(Namespace::new(daemon.namespace()).unwrap()))
}

#[tokio::test]
async fn a_spec_that_is_none_runs_nothing() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    let (connection, scope) = connect(&daemon).await;
    let (containers, tasks) = (connection.containers(), connection.tasks());
    let specs: [&[u8]; 7] = [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        br#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":[]},"root":{"path":"rootfs"}}"#,
        br#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":["true"]},"root":{"path":"../../../.."},"linux":{"namespaces":[{"type":"nonsense"}]}}"#,
        br#"{"ociVersion":"1.2.0","process":{"cwd":"relative","args":["true"]},"root":{"path":"rootfs"},"linux":{}}"#,
    ];
    for (number, spec) in specs.into_iter().enumerate() {
        let id = format!("c{number}");
        containers.create(&scope, container(&id, spec.to_vec())).await.unwrap();
        let create = Create { container_id: id.clone(), ..Create::default() };
        let refused = tasks.create(&scope, create).await;
        let shown = String::from_utf8_lossy(spec);
        let error = refused.err().unwrap_or_else(|| panic!("a task of {shown}"));
        assert!(!error.message().is_empty() && !error.message().contains("panic"), "{error}");
        assert!(tasks.get(&scope, &id, "").await.unwrap_err().is_not_found());
        containers.delete(&scope, &id).await.unwrap();
    }
    assert_no_tasks_left(&daemon);
    assert_unharmed(&mut daemon);
}

#[tokio::test]
async fn too_much_at_once_is_refused_and_forgotten() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    let (connection, scope) = connect(&daemon).await;
    let containers = connection.containers();
    // Beyond the 16 MiB that a message may have.
    let error =
        containers.create(&scope, container("big", vec![b' '; 17 << 20])).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::OutOfRange | ErrorKind::ResourceExhausted),
        "{:?}: {error}",
        error.kind()
    );
    let mut labelled = container("labelled", b"{}".to_vec());
    labelled.labels.insert("key".to_owned(), "v".repeat(5000));
    let error = containers.create(&scope, labelled).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("4096"), "{error}");
    // The connection is as good as before.
    containers.create(&scope, container("small", b"{}".to_vec())).await.unwrap();
    containers.delete(&scope, "small").await.unwrap();
    assert_unharmed(&mut daemon);
}
