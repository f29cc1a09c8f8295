//! Events, and what many tasks at once leave behind.

use std::fs;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use stowd_core::events::Event;
use stowd_core::filters::Filters;
use stowd_core::tasks::Stdio;

use super::super::{Must as _, eventually};
use super::rig::{create, delete, end, exec, process, run, script, start, wait};
use super::{FOREVER, Subject};

/// Collects what is told of a task while `act` runs, up to the deletion of the process `last`.
async fn told(it: &Subject, last: &str, act: impl Future<Output = ()>) -> Vec<Event> {
    let filter = format!("namespace=={},topic~=|^/tasks/|", it.scope.namespace);
    let filters = Filters::parse(&[filter]).must("a filter");
    let mut stream = it.exchange.subscribe(filters).await.must("subscribing");
    tokio::time::sleep(Duration::from_millis(150)).await;
    act.await;
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), stream.next())
            .await
            .unwrap_or_else(|_| panic!("no more events after {events:?}"))
            .expect("the stream goes on")
            .must("an event")
            .event;
        let ends = matches!(&event, Event::TaskDelete { id, container_id, .. }
            if id == last || (id.is_empty() && container_id == last));
        events.push(event);
        if ends {
            return events;
        }
    }
}

pub(super) async fn events_come_in_order(it: &Subject) {
    let events = told(it, "c", async {
        run(it, "c", "exit 6").await;
        wait(it, "c", "").await;
        delete(it, "c").await;
    })
    .await;
    let topics: Vec<&str> = events.iter().filter_map(Event::topic).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    let [
        Event::TaskCreate { container_id, pid, rootfs, .. },
        Event::TaskStart { pid: started, .. },
        Event::TaskExit { container_id: whose, id, pid: ended, exit_status, .. },
        Event::TaskDelete { pid: deleted, exit_status: kept, .. },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((container_id.as_str(), rootfs.len()), ("c", 1));
    assert!(pid == started && started == ended && ended == deleted, "{events:?}");
    assert_eq!((whose.as_str(), id.as_str()), ("c", "c"));
    assert_eq!((*exit_status, *kept), (6, 6));
}

pub(super) async fn events_of_execs_come_in_order(it: &Subject) {
    let events = told(it, "c", async {
        run(it, "c", FOREVER).await;
        exec(it, "c", "e", &process(&["sh", "-c", "exit 2"]), Stdio::default()).await;
        it.tasks.start(&it.scope, "c", "e").await.must("starting");
        wait(it, "c", "e").await;
        it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
        end(it, "c").await;
    })
    .await;
    let of_exec: Vec<&str> = events
        .iter()
        .filter(|event| match event {
            Event::TaskExecAdded { .. } | Event::TaskExecStarted { .. } => true,
            Event::TaskExit { id, .. } => id == "e",
            _ => false,
        })
        .filter_map(Event::topic)
        .collect();
    assert_eq!(of_exec, ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]);
    let exits = events.iter().filter(|event| matches!(event, Event::TaskExit { .. })).count();
    assert_eq!(exits, 2, "one exit for each process: {events:?}");
}

pub(super) async fn memory_beyond_the_limit_is_told(it: &Subject) {
    let events = told(it, "c", async {
        let mut wanted = script(it, "c", "tail /dev/zero & wait $!; exit $?");
        wanted["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
        let devices = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }
        ]);
        wanted["linux"]["resources"]["devices"] = devices;
        create(it, "c", &wanted, Stdio::default()).await;
        start(it, "c").await;
        assert_eq!(wait(it, "c", "").await.status, 137);
        // The kernel's word of it and the exit take different ways.
        tokio::time::sleep(Duration::from_millis(500)).await;
        delete(it, "c").await;
    })
    .await;
    assert!(events.iter().any(|it| matches!(it, Event::TaskOOM { .. })), "{events:?}");
}

pub(super) async fn many_tasks_run_at_once(it: &Subject) {
    let all: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let each = all.iter().enumerate().map(|(number, id)| async move {
        run(it, id, &format!("exit {number}")).await;
        assert_eq!(wait(it, id, "").await.status as usize, number);
        delete(it, id).await;
    });
    futures_util::future::join_all(each).await;
}

pub(super) async fn nothing_is_left_after_delete(it: &Subject) {
    let pid = run(it, "c", FOREVER).await;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(it.scope.namespace.as_str()), "not in a cgroup of its own: {groups}");
    end(it, "c").await;
    eventually("its cgroups are gone", || async {
        let mut left = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        !left.any(|top| top.path().join(it.scope.namespace.as_str()).join("c").exists())
    })
    .await;
    eventually("its mounts are gone", || async {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        !table.contains(&format!("/{}/c/", it.scope.namespace))
    })
    .await;
}
