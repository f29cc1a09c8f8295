//! The daemon's death and return: what runs goes on, what ended is told, nothing is left.

use std::time::Duration;

use rustix::process::{Signal, kill_process};
use stowd_core::events::Event;
use stowd_core::tasks::{Status, Tasks as _};
use stowd_core::{Labels, Namespace, Scope};
use stowd_testing::{Version, need};

use crate::bench::{Bench, FOREVER, Kind, spec};

fn tasks_outlive_the_daemon(kind: Kind) {
    let bench = Bench::new(kind);
    let pids = bench.live(async |life| {
        let running = life.run(&bench, "runs", FOREVER).await;
        let created = life.create(&bench, "created", FOREVER).await;
        life.run(&bench, "ended", "exit 3").await;
        life.manager.wait(&life.scope, "ended", "").await.unwrap();
        life.run(&bench, "ends", "sleep 0.5; exit 6").await;
        [running, created]
    });
    std::thread::sleep(Duration::from_millis(800));
    bench.live(async |life| {
        let state = async |id| life.manager.get(&life.scope, id, "").await.unwrap();
        let listed = life.manager.list(&life.scope, &Default::default()).await.unwrap();
        assert_eq!(listed.len(), 4, "{listed:?}");
        let other = Scope::new(Namespace::new("other").unwrap());
        assert_eq!(life.manager.list(&other, &Default::default()).await.unwrap(), []);
        assert_eq!(
            (state("runs").await.status, state("runs").await.pid),
            (Status::Running, pids[0])
        );
        assert_eq!(state("created").await.status, Status::Created);
        assert_eq!(state("ended").await.exit.unwrap().status, 3);
        assert_eq!(state("ends").await.exit.unwrap().status, 6);
        assert_eq!(life.manager.wait(&life.scope, "ends", "").await.unwrap().status, 6);
        assert_eq!(life.manager.start(&life.scope, "created", "").await.unwrap(), pids[1]);
        for (id, status) in [("ended", 3), ("ends", 6)] {
            let exit = life.manager.delete(&life.scope, id, "").await.unwrap();
            assert_eq!(exit.status, status, "{id}");
        }
        let again =
            life.create_with(&bench, "runs", &spec(&bench, "runs", "", Labels::new())).await;
        assert!(again.unwrap_err().is_already_exists());
        life.end("runs").await;
        life.end("created").await;
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

fn what_died_meanwhile_is_buried(kind: Kind) {
    let bench = Bench::new(kind);
    let pid = bench.live(async |life| {
        let pid = life.run(&bench, "dies", FOREVER).await;
        life.run(&bench, "hangs", FOREVER).await;
        life.run(&bench, "lives", FOREVER).await;
        pid
    });
    kill_process(bench.shim_pid("dies"), Signal::KILL).unwrap();
    bench.stop_shim("hangs");
    // Leftovers of a crash in the middle of something.
    std::fs::create_dir(bench.bundle("empty")).unwrap();
    std::fs::create_dir_all(bench.bundle(".half").join("rootfs")).unwrap();
    bench.live(async |life| {
        let listed = life.manager.list(&life.scope, &Default::default()).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|task| task.container_id.as_str()).collect();
        assert_eq!(ids, ["lives"]);
        assert!(!std::fs::exists(format!("/proc/{pid}/root/.")).unwrap_or(false));
        let told = life.told("dies").await;
        let ended = |event: &Event| matches!(event, Event::TaskExit { pid: ended, id, .. } if *ended == pid && id == "dies");
        assert_eq!(told.iter().filter(|event| ended(event)).count(), 1, "{told:?}");
        let empty = |event: &Event| matches!(event, Event::TaskDelete { container_id, .. } if container_id == "empty");
        assert!(!told.iter().any(empty), "{told:?}");
        life.end("lives").await;
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

fn a_group_shares_a_shim(kind: Kind) {
    let bench = Bench::new(kind);
    let pod = Labels::from([("io.kubernetes.cri.sandbox-id".to_owned(), "pod".to_owned())]);
    bench.live(async |life| {
        for id in ["pod", "one", "two"] {
            life.create_with(&bench, id, &spec(&bench, id, FOREVER, pod.clone())).await.unwrap();
            life.manager.start(&life.scope, id, "").await.unwrap();
        }
        let addresses = ["pod", "one", "two"]
            .map(|id| std::fs::read_to_string(bench.bundle(id).join("bootstrap.json")).unwrap());
        assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
        life.end("pod").await;
        let left = life.manager.get(&life.scope, "one", "").await.unwrap();
        assert_eq!(left.status, Status::Running);
    });
    bench.live(async |life| {
        life.end("one").await;
        let left = life.manager.get(&life.scope, "two", "").await.unwrap();
        assert_eq!(left.status, Status::Running);
        life.end("two").await;
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

macro_rules! each {
    ($module:ident, $kind:expr, $($need:ident),+) => {
        mod $module {
            use super::*;

            #[test]
            fn tasks_outlive_the_daemon() {
                need!($($need),+);
                super::tasks_outlive_the_daemon($kind);
            }

            #[test]
            fn what_died_meanwhile_is_buried() {
                need!($($need),+);
                super::what_died_meanwhile_is_buried($kind);
            }

            #[test]
            fn a_group_shares_a_shim() {
                need!($($need),+);
                super::a_group_shares_a_shim($kind);
            }
        }
    };
}

each!(containerd_1_6, Kind::Containerd(Version::V1_6), root, clients);
each!(containerd_2, Kind::Containerd(Version::V2), root, clients);
each!(stowd, Kind::Stowd, root, clients, stowd);
