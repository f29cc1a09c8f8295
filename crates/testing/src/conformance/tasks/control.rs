//! Signals, pausing, limits and numbers of running tasks.

use std::fs;
use std::time::Duration;

use serde_json::json;
use stowd_core::filters::Filters;
use stowd_core::tasks::{Reach, Status, Stdio};
use stowd_core::{ErrorKind, Labels};

use super::super::{Must as _, eventually, refused};
use super::rig::{
    Streams, any, create, delete, end, exec, kill, process, run, script, start, status, wait,
};
use super::{FOREVER, Subject};

pub(super) async fn signals_arrive(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    let text = format!("trap 'echo hup' HUP; trap 'exit 9' USR1; echo ready; {FOREVER}");
    create(it, "c", &script(it, "c", &text), streams.stdio.clone()).await;
    start(it, "c").await;
    // Long enough for the shell to have set its traps.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill(it, "c", 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    kill(it, "c", 10).await;
    assert_eq!(wait(it, "c", "").await.status, 9);
    delete(it, "c").await;
    assert_eq!(streams.output(), "ready\nhup\n");
}

pub(super) async fn killing_a_finished_task_is_not_found(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    refused(it.tasks.kill(&it.scope, "c", "", 15, Reach::Process).await, &[ErrorKind::NotFound]);
    delete(it, "c").await;
}

pub(super) async fn a_signal_for_all_reaches_all(it: &Subject) {
    run(it, "c", &format!("sleep 1000 & sleep 1000 & {FOREVER}")).await;
    it.tasks.kill(&it.scope, "c", "", 9, Reach::All).await.must("killing all");
    assert_eq!(wait(it, "c", "").await.status, 137);
    delete(it, "c").await;
}

pub(super) async fn paused_tasks_stand_still(it: &Subject) {
    let path = it.folder.join("ticks");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Default::default() };
    create(it, "c", &script(it, "c", "while :; do echo tick; sleep 0.05; done"), stdio).await;
    start(it, "c").await;
    let ticks = || fs::metadata(&path).map_or(0, |meta| meta.len());
    eventually("the task prints", || async { ticks() > 0 }).await;
    it.tasks.pause(&it.scope, "c").await.must("pausing");
    assert_eq!(status(it, "c").await, Status::Paused);
    // What was printed before may still be on its way to the file.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = ticks();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ticks(), before);
    it.tasks.resume(&it.scope, "c").await.must("resuming");
    assert_eq!(status(it, "c").await, Status::Running);
    eventually("the task goes on printing", || async { ticks() > before }).await;
    end(it, "c").await;
}

pub(super) async fn pause_and_resume_answer_for_the_state(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    let wrong = [ErrorKind::FailedPrecondition, ErrorKind::NotFound, ErrorKind::Unknown];
    refused(it.tasks.pause(&it.scope, "c").await, &wrong);
    refused(it.tasks.resume(&it.scope, "c").await, &wrong);
    delete(it, "c").await;
}

pub(super) async fn pids_are_those_of_the_task(it: &Subject) {
    let pid = run(it, "c", &format!("sleep 1000 & {FOREVER}")).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    let other = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    eventually("all processes are seen", || async {
        let pids = it.tasks.pids(&it.scope, "c").await.must("pids");
        let has = |wanted| pids.iter().any(|it| it.pid == wanted);
        pids.len() >= 3 && has(pid) && has(other)
    })
    .await;
    end(it, "c").await;
}

pub(super) async fn metrics_are_of_the_task(it: &Subject) {
    run(it, "c", FOREVER).await;
    let filters = Filters::parse(&["id==c"]).must("a filter");
    let metrics = it.tasks.metrics(&it.scope, &filters).await.must("metrics");
    assert_eq!(metrics.len(), 1, "{metrics:?}");
    assert_eq!(metrics[0].id, "c");
    let kind = &metrics[0].data.type_url;
    assert!(kind.starts_with("io.containerd.cgroups.v"), "{kind}");
    assert!(!metrics[0].data.value.is_empty(), "no numbers");
    end(it, "c").await;
}

pub(super) async fn limits_can_change(it: &Subject) {
    let pid = run(it, "c", FOREVER).await;
    let resources = any(
        "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        &json!({ "pids": { "limit": 33 } }),
    );
    it.tasks.update(&it.scope, "c", resources, Labels::new()).await.must("updating");
    assert_eq!(pids_limit(pid), "33");
    end(it, "c").await;
}

/// Reads a process's limit of processes from its own cgroup, v1 or v2.
fn pids_limit(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (kinds, path) = (parts.next()?, parts.next()?);
            let top = match kinds {
                "pids" => "/sys/fs/cgroup/pids",
                "" => "/sys/fs/cgroup",
                _ => return None,
            };
            fs::read_to_string(format!("{top}{path}/pids.max")).ok()
        })
        .next()
        .unwrap_or_else(|| panic!("no pids cgroup in {groups}"))
        .trim()
        .to_owned()
}
