//! Sandboxes when the daemon or their shim goes away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use stowd_core::containers::{Runtime, Store as _};
use stowd_core::events::{Envelopes, Event, Exchange as _};
use stowd_core::filters::Filters;
use stowd_core::sandboxes::{Controller, Create, Detail, Sandbox, Store as _};
use stowd_core::tasks::{self, Tasks as _};
use stowd_core::{ErrorKind, Labels, Result};
use stowd_testing::{Version, need};

use crate::bench::{Bench, Kind, Life, container};
use crate::sandbox_shim::{PID, STATUS, SandboxShim};

fn sandbox(shim: &SandboxShim, id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        labels: Labels::new(),
        runtime: Runtime { name: shim.program.display().to_string(), options: None },
        spec: None,
        sandboxer: "shim".to_owned(),
        extensions: BTreeMap::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

async fn create(bench: &Bench, life: &Life, shim: &SandboxShim, id: &str) {
    let sandbox = sandbox(shim, id);
    bench.sandboxes.create(&life.scope, sandbox.clone()).await.unwrap();
    life.manager.sandboxes().create(&life.scope, sandbox, Create::default()).await.unwrap();
}

async fn start(bench: &Bench, life: &Life, shim: &SandboxShim, id: &str) {
    create(bench, life, shim, id).await;
    let started = life.manager.sandboxes().start(&life.scope, id).await.unwrap();
    assert_eq!((started.pid, started.version), (PID, 3));
    let socket = bench.scratch.join("sandboxes.sock");
    assert_eq!(started.address, format!("ttrpc+unix://{}", socket.display()));
}

async fn create_task(bench: &Bench, life: &Life, id: &str, address: &str) -> Result<u32> {
    let mut container = container(id, &serde_json::json!({}));
    container.runtime.name = "/nonexistent/shim".to_owned();
    container.sandbox_id = "s".to_owned();
    bench.containers.create(&life.scope, container).await?;
    let create = tasks::Create {
        container_id: id.to_owned(),
        sandbox_address: address.to_owned(),
        sandbox_version: 3,
        ..Default::default()
    };
    life.manager.create(&life.scope, create).await
}

async fn state(controller: &dyn Controller, life: &Life, id: &str) -> String {
    controller.status(&life.scope, id, Detail::Plain).await.unwrap().state
}

async fn listen(life: &Life) -> Envelopes {
    let filters = Filters::parse(&["topic~=|^/sandboxes/|"]).unwrap();
    life.exchange.subscribe(filters).await.unwrap()
}

/// Returns what was told until nothing is for a while.
async fn told(events: &mut Envelopes) -> Vec<Event> {
    let mut told = Vec::new();
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(700), events.next()).await {
        told.push(next.unwrap().unwrap().event);
    }
    told
}

fn exits(told: &[Event]) -> Vec<(String, u32)> {
    let exit = |event: &Event| match event {
        Event::SandboxExit { sandbox_id, exit_status, .. } => {
            Some((sandbox_id.clone(), *exit_status))
        }
        _ => None,
    };
    told.iter().filter_map(exit).collect()
}

fn bench() -> Bench {
    let mut bench = Bench::new(Kind::Containerd(Version::V2));
    bench.config.timeouts.shutdown = Duration::from_millis(500);
    bench
}

#[test]
fn sandboxes_outlive_the_daemon_and_an_exit_is_told_once() {
    need!(root, clients);
    let bench = bench();
    let mut shim = None;
    bench.live(async |life| {
        let mut events = listen(life).await;
        let kept = SandboxShim::new(bench.scratch.path());
        start(&bench, life, &kept, "s").await;
        start(&bench, life, &kept, "told").await;
        start(&bench, life, &kept, "missed").await;
        create(&bench, life, &kept, "unstarted").await;
        create_task(&bench, life, "c", "").await.unwrap();
        // Nobody waits for it, and yet it is told.
        kept.end("told");
        assert_eq!(exits(&told(&mut events).await), [("told".to_owned(), STATUS)]);
        shim = Some(kept);
    });
    let shim = shim.unwrap();
    shim.end("missed");
    let socket = bench.scratch.join("sandboxes.sock");
    // The test's runtime went with the daemon, and the shim's connections with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { shim.listen(&socket) });
    bench.live(async |life| {
        let controller = life.manager.sandboxes();
        let mut events = listen(life).await;
        for (id, wanted) in [
            ("s", "SANDBOX_READY"),
            ("unstarted", "SANDBOX_READY"),
            ("told", "SANDBOX_NOTREADY"),
            ("missed", "SANDBOX_NOTREADY"),
        ] {
            assert_eq!(state(&*controller, life, id).await, wanted, "{id}");
        }
        for id in ["told", "missed"] {
            assert_eq!(controller.wait(&life.scope, id).await.unwrap().status, STATUS);
        }
        let told_before = exits(&told(&mut events).await);
        assert!(told_before.len() <= 1, "{told_before:?}");
        controller.start(&life.scope, "unstarted").await.unwrap();
        assert_eq!(life.manager.get(&life.scope, "c", "").await.unwrap().status, {
            tasks::Status::Running
        });
        life.manager.delete(&life.scope, "c", "").await.unwrap();
        controller.stop(&life.scope, "s", Duration::ZERO).await.unwrap();
        assert_eq!(exits(&told(&mut events).await), [("s".to_owned(), STATUS)]);
        for id in ["s", "unstarted", "told", "missed"] {
            controller.shutdown(&life.scope, id).await.unwrap();
        }
        assert_eq!(shim.kept(), [""; 0]);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn what_a_dead_shim_held_is_buried() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        let controller = life.manager.sandboxes();
        let mut events = listen(life).await;
        let shim = SandboxShim::new(bench.scratch.path());
        start(&bench, life, &shim, "s").await;
        create(&bench, life, &shim, "unstarted").await;
        create_task(&bench, life, "c", "").await.unwrap();
        let (exit, ()) = tokio::join!(controller.wait(&life.scope, "s"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            shim.die();
        });
        assert_eq!(exit.unwrap().status, 137);
        assert_eq!(exits(&told(&mut events).await), [("s".to_owned(), 137)]);
        for _ in 0..100 {
            if bench.bundles().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(state(&*controller, life, "s").await, "");
        controller.stop(&life.scope, "s", Duration::ZERO).await.unwrap();
        let gone = life.manager.get(&life.scope, "c", "").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn a_sandbox_may_be_kept_by_somebody_else() {
    need!(root, clients);
    let bench = bench();
    bench.live(async |life| {
        let shim = SandboxShim::new(bench.scratch.path());
        bench.sandboxes.create(&life.scope, sandbox(&shim, "s")).await.unwrap();
        let socket = bench.scratch.join("sandboxes.sock");
        let address = format!("ttrpc+unix://{}", socket.display());
        let error = create_task(&bench, life, "bad", "unix:///x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        create_task(&bench, life, "a", &address).await.unwrap();
        create_task(&bench, life, "b", &address).await.unwrap();
        let begun = std::time::Instant::now();
        life.manager.delete(&life.scope, "a", "").await.unwrap();
        life.manager.delete(&life.scope, "b", "").await.unwrap();
        // It is not ours to end: nobody waited for that.
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert!(socket.exists());
        create_task(&bench, life, "c", &address).await.unwrap();
        life.manager.delete(&life.scope, "c", "").await.unwrap();
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn ids_are_shared_with_tasks() {
    need!(root, clients, stowd);
    let bench = Bench::new(Kind::Stowd);
    bench.live(async |life| {
        let shim = SandboxShim::new(bench.scratch.path());
        create(&bench, life, &shim, "s").await;
        let error = life.create_with(&bench, "s", &serde_json::json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        let tasks = life.manager.list(&life.scope, &Filters::default()).await.unwrap();
        assert_eq!(tasks, []);
        let get = life.manager.get(&life.scope, "s", "").await.unwrap_err();
        assert_eq!(get.kind(), ErrorKind::NotFound);
        let controller: Arc<dyn Controller> = life.manager.sandboxes();
        controller.shutdown(&life.scope, "s").await.unwrap();
        // Our own shim keeps no sandboxes, as containerd's: what was started for it is cleared away.
        let mut own = sandbox(&shim, "own");
        own.runtime.name = "io.containerd.runc.v2".to_owned();
        let made = controller.create(&life.scope, own, Create::default()).await;
        assert_eq!(made.unwrap_err().kind(), ErrorKind::NotImplemented);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}
