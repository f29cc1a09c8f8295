//! A shim that does as the test says, started by a script: for what real shims do not do at will.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use stowd_api::task::v3::{self, task_names as names};
use stowd_api::ttrpc::{Call, Dispatch, Service, serve};
use stowd_api::{Message as _, rpc, status};
use stowd_core::ErrorKind;
use stowd_core::events::{Envelope, Event};
use stowd_core::tasks::Tasks as _;
use stowd_testing::{Version, need};
use tokio::task::JoinHandle;

use crate::bench::{Bench, Kind, Life, container, spec};

/// What the shim is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It answers what it must.
    Plain,
    /// It never answers a creation.
    Hangs,
    /// It knows version 2 only, whatever its start said.
    Old,
}

struct Fake {
    manner: Manner,
    calls: Mutex<Vec<String>>,
    /// The init of its one task.
    init: Mutex<Child>,
}

impl Fake {
    /// Listens, and returns what ends it, and the program that says where.
    fn new(bench: &Bench, manner: Manner) -> (Arc<Self>, JoinHandle<()>, String) {
        let init = Command::new("sleep").arg("1000").spawn().unwrap();
        let fake = Arc::new(Self { manner, calls: Mutex::default(), init: Mutex::new(init) });
        let socket = bench.scratch.join("fake.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let service: Arc<dyn Service> = fake.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, service.clone(), Dispatch::Concurrent));
            }
        });
        let answer = format!(
            r#"{{"version":3,"address":"unix://{}","protocol":"ttrpc"}}"#,
            socket.display()
        );
        (fake, serving, program(bench, &answer))
    }

    fn pid(&self) -> u32 {
        self.init.lock().unwrap().id()
    }

    fn count(&self, method: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| call.ends_with(method)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let init = self.init.get_mut().unwrap();
        let _ = init.kill();
        let _ = init.wait();
    }
}

#[async_trait]
impl Service for Fake {
    async fn call(&self, call: Call) -> Result<Bytes, rpc::Status> {
        self.calls.lock().unwrap().push(format!("{}/{}", call.service, call.method));
        if self.manner == Manner::Old && call.service.contains(".v3.") {
            return Err(status::unimplemented(&call.service, &call.method));
        }
        Ok(match &*call.method {
            names::CREATE if self.manner == Manner::Hangs => std::future::pending().await,
            names::CREATE => v3::CreateTaskResponse { pid: self.pid() }.encode_to_vec().into(),
            names::START => v3::StartResponse { pid: self.pid() }.encode_to_vec().into(),
            names::WAIT => std::future::pending().await,
            _ => Bytes::new(),
        })
    }
}

/// Writes a program whose `start` prints this.
fn program(bench: &Bench, answer: &str) -> String {
    let path = bench.scratch.join("containerd-shim-fake-v1");
    let text =
        format!("#!/bin/sh\nfor last; do :; done\n[ $last = start ] && echo '{answer}'\n:\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn bench() -> Bench {
    let mut bench = Bench::new(Kind::Containerd(Version::V2));
    bench.config.timeouts.work = Duration::from_millis(500);
    bench.config.timeouts.cleanup = Duration::from_millis(500);
    bench.config.timeouts.shutdown = Duration::from_millis(500);
    bench
}

async fn create(bench: &Bench, life: &Life, program: &str) -> stowd_core::Result<u32> {
    let container = container("c", &spec(bench, "c", "true", Default::default()));
    life.create_on(bench, container, program).await
}

fn exit(life: &Life, pid: u32) -> Envelope {
    let at = SystemTime::now();
    let (container_id, id) = ("c".to_owned(), "c".to_owned());
    Envelope {
        timestamp: at,
        namespace: life.scope.namespace.clone(),
        topic: "/tasks/exit".to_owned(),
        event: Event::TaskExit { container_id, id, pid, exit_status: 3, exited_at: at },
    }
}

#[test]
fn all_who_wait_ask_once_and_an_exit_is_told_once() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        let (fake, serving, program) = Fake::new(&bench, Manner::Plain);
        let pid = create(&bench, life, &program).await.unwrap();
        assert_eq!(pid, fake.pid());
        let waits = (0..20).map(|_| life.manager.wait(&life.scope, "c", ""));
        let ends = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            life.manager.forwarded(exit(life, pid)).await.unwrap();
            life.manager.forwarded(exit(life, pid)).await.unwrap();
        };
        let (exits, ()) = tokio::join!(futures_util::future::join_all(waits), ends);
        assert!(exits.iter().all(|exit| exit.as_ref().unwrap().status == 3));
        assert_eq!(fake.count("Wait"), 1);
        // Its connection ends, and then another of its exits arrives that was on its way.
        serving.abort();
        let told = life.told("c").await;
        life.manager.forwarded(exit(life, pid)).await.unwrap();
        let topics: Vec<_> = told.iter().filter_map(Event::topic).collect();
        assert_eq!(topics, ["/tasks/exit", "/tasks/delete"]);
        let quiet = tokio::time::timeout(Duration::from_millis(300), life.told("c")).await;
        assert!(quiet.is_err(), "{quiet:?}");
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn a_creation_that_hangs_is_given_up() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        let (_fake, _serving, program) = Fake::new(&bench, Manner::Hangs);
        let error = create(&bench, life, &program).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        let gone = life.manager.get(&life.scope, "c", "").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn an_older_shim_is_spoken_to_in_its_version() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        let (fake, _serving, program) = Fake::new(&bench, Manner::Old);
        create(&bench, life, &program).await.unwrap();
        life.manager.start(&life.scope, "c", "").await.unwrap();
        assert_eq!(fake.count("containerd.task.v2.Task/Start"), 1);
        life.manager.delete(&life.scope, "c", "").await.unwrap();
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn what_is_not_understood_is_refused() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        for (answer, words) in [
            (r#"{"version":3,"address":"unix:///x","protocol":"grpc"}"#, "speak grpc"),
            (r#"{"version":9,"address":"unix:///x","protocol":"ttrpc"}"#, "shim version (9)"),
            (r#"{"version":3,"address":"vsock://3:1","protocol":"ttrpc"}"#, "protocol: vsock"),
        ] {
            let error = create(&bench, life, &program(&bench, answer)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}
