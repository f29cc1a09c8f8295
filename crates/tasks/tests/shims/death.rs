//! Shims that die or hang: their tasks end, once, and nothing is left.

use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Signal, kill_process};
use stowd_core::events::Event;
use stowd_core::tasks::{Exec, Status, Stdio, Tasks as _};
use stowd_core::{Any, ErrorKind};
use stowd_testing::{Version, need};

use crate::bench::{Bench, FOREVER, Kind, Life, process};

fn exits(events: &[Event]) -> Vec<(&str, u32)> {
    let exits = events.iter().filter_map(|event| match event {
        Event::TaskExit { id, exit_status, .. } => Some((id.as_str(), *exit_status)),
        _ => None,
    });
    exits.collect()
}

fn deletions(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::TaskDelete { .. })).count()
}

/// Runs a task with an exec in it.
async fn run_with_exec(bench: &Bench, life: &Life) -> (u32, u32) {
    let pid = life.run(bench, "c", FOREVER).await;
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: Bytes::from(process(FOREVER).to_string()),
    };
    let exec = Exec {
        container_id: "c".to_owned(),
        exec_id: "e".to_owned(),
        stdio: Stdio::default(),
        spec: Some(spec),
    };
    life.manager.exec(&life.scope, exec).await.unwrap();
    let second = life.manager.start(&life.scope, "c", "e").await.unwrap();
    (pid, second)
}

fn is_alive(pid: u32) -> bool {
    // A zombie has no root any more.
    std::fs::exists(format!("/proc/{pid}/root/.")).unwrap_or(false)
}

fn a_killed_shim_ends_its_task(kind: Kind) {
    let bench = Bench::new(kind);
    bench.live(async |life| {
        let (pid, second) = run_with_exec(&bench, life).await;
        let waits = [(); 3].map(|()| life.manager.wait(&life.scope, "c", ""));
        let exec_wait = life.manager.wait(&life.scope, "c", "e");
        let killed = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            kill_process(bench.shim_pid("c"), Signal::KILL).unwrap();
        };
        let (exits_seen, exec_exit, ()) =
            tokio::join!(futures_util::future::join_all(waits), exec_wait, killed);
        for exit in exits_seen {
            assert_eq!(exit.unwrap().status, 137);
        }
        assert_eq!(exec_exit.unwrap().status, 137);
        let told = life.told("c").await;
        assert_eq!(exits(&told), [("e", 137), ("c", 137)], "{told:?}");
        assert_eq!(deletions(&told), 1, "{told:?}");
        assert!(!is_alive(pid) && !is_alive(second));
        let gone = life.manager.get(&life.scope, "c", "").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        // The id is free.
        life.run(&bench, "c", "exit 4").await;
        assert_eq!(life.manager.wait(&life.scope, "c", "").await.unwrap().status, 4);
        life.manager.delete(&life.scope, "c", "").await.unwrap();
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

fn an_exit_is_not_told_again_when_the_shim_dies(kind: Kind) {
    let bench = Bench::new(kind);
    bench.live(async |life| {
        life.run(&bench, "c", "exit 5").await;
        assert_eq!(life.manager.wait(&life.scope, "c", "").await.unwrap().status, 5);
        tokio::time::sleep(Duration::from_millis(200)).await;
        kill_process(bench.shim_pid("c"), Signal::KILL).unwrap();
        let told = life.told("c").await;
        assert_eq!(exits(&told), [("c", 5)], "{told:?}");
        assert_eq!(deletions(&told), 1, "{told:?}");
    });
}

fn a_hung_shim_is_killed_and_its_task_with_it(kind: Kind) {
    let bench = Bench::new(kind);
    bench.live(async |life| {
        let pid = life.run(&bench, "c", FOREVER).await;
        life.run(&bench, "d", FOREVER).await;
        bench.stop_shim("c");
        // Others are not held up, and questions are answered as well as can be.
        let state = life.manager.get(&life.scope, "c", "").await.unwrap();
        assert_eq!((state.status, state.pid), (Status::Unknown, pid));
        let listed = life.manager.list(&life.scope, &Default::default()).await.unwrap();
        assert_eq!(listed.len(), 2);
        let measured = life.manager.metrics(&life.scope, &Default::default()).await.unwrap();
        assert_eq!(measured.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["d"]);
        assert!(is_alive(pid));
        let killed = life.manager.kill(&life.scope, "c", "", 9, Default::default()).await;
        assert_eq!(killed.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        let told = life.told("c").await;
        assert_eq!(exits(&told), [("c", 137)], "{told:?}");
        assert!(!is_alive(pid));
        life.end("d").await;
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

fn a_shim_that_dies_during_creation_leaves_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    bench.live(async |life| {
        let killer = async {
            for _ in 0..1000 {
                let text = std::fs::read_to_string(bench.bundle("c").join("shim.pid"));
                if let Some(pid) = text.ok().and_then(|text| text.trim().parse().ok()) {
                    let pid = rustix::process::Pid::from_raw(pid).unwrap();
                    return kill_process(pid, Signal::KILL).unwrap();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            panic!("no shim was started");
        };
        let spec = crate::bench::spec(&bench, "c", FOREVER, Default::default());
        let (created, ()) = tokio::join!(life.create_with(&bench, "c", &spec), killer);
        if created.is_ok() {
            // It was quicker: then it is buried.
            life.told("c").await;
        }
        let gone = life.manager.get(&life.scope, "c", "").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

macro_rules! each {
    ($module:ident, $kind:expr, $($need:ident),+) => {
        mod $module {
            use super::*;

            #[test]
            fn a_killed_shim_ends_its_task() {
                need!($($need),+);
                super::a_killed_shim_ends_its_task($kind);
            }

            #[test]
            fn an_exit_is_not_told_again_when_the_shim_dies() {
                need!($($need),+);
                super::an_exit_is_not_told_again_when_the_shim_dies($kind);
            }

            #[test]
            fn a_hung_shim_is_killed_and_its_task_with_it() {
                need!($($need),+);
                super::a_hung_shim_is_killed_and_its_task_with_it($kind);
            }

            #[test]
            fn a_shim_that_dies_during_creation_leaves_nothing() {
                need!($($need),+);
                super::a_shim_that_dies_during_creation_leaves_nothing($kind);
            }
        }
    };
}

each!(containerd_1_6, Kind::Containerd(Version::V1_6), root, clients);
each!(containerd_2, Kind::Containerd(Version::V2), root, clients);
each!(stowd, Kind::Stowd, root, clients, stowd);
