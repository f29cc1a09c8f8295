//! From creation to deletion.

use std::fs;
use std::time::{Duration, SystemTime};

use stowd_core::ErrorKind;
use stowd_core::filters::Filters;
use stowd_core::tasks::{Exit, Reach, Status, Stdio};

use super::super::{Must as _, eventually, refused};
use super::rig::{
    create, delete, end, exec_request, process, run, script, spec, start, state, status, task,
    try_create, wait,
};
use super::{FOREVER, Subject};

pub(super) async fn a_created_task_has_a_process_that_waits(it: &Subject) {
    let pid = create(it, "c", &script(it, "c", "exit 0"), Stdio::default()).await;
    assert!(pid > 0);
    let made = state(it, "c", "").await;
    assert_eq!((made.pid, made.status, made.exit), (pid, Status::Created, None));
    assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "no process {pid}");
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
}

pub(super) async fn a_started_task_runs(it: &Subject) {
    let made = create(it, "c", &script(it, "c", FOREVER), Stdio::default()).await;
    let started = start(it, "c").await;
    assert_eq!(started, made);
    let running = state(it, "c", "").await;
    assert_eq!((running.pid, running.status), (made, Status::Running));
    assert_eq!(running.container_id, "c");
    end(it, "c").await;
}

pub(super) async fn exit_codes_are_reported(it: &Subject) {
    for code in [0, 1, 7, 255] {
        let id = format!("c{code}");
        let pid = run(it, &id, &format!("exit {code}")).await;
        let exit = wait(it, &id, "").await;
        assert_eq!(exit.status, code);
        let deleted = delete(it, &id).await;
        assert_eq!((deleted.pid, deleted.status), (pid, code));
    }
}

pub(super) async fn a_signal_ends_with_128_and_its_number(it: &Subject) {
    for signal in [9, 15] {
        let id = format!("c{signal}");
        // The first process of a pid namespace only dies of signals that it does not ignore.
        run(it, &id, &format!("trap 'trap - TERM; exit 143' TERM; {FOREVER}")).await;
        // Sent again until it takes: the shell may not have set its trap yet.
        let ended = loop {
            let _ = it.tasks.kill(&it.scope, &id, "", signal, Reach::Process).await;
            let waiting = wait(it, &id, "");
            if let Ok(exit) = tokio::time::timeout(Duration::from_secs(3), waiting).await {
                break exit;
            }
        };
        assert_eq!(ended.status, 128 + signal);
        delete(it, &id).await;
    }
}

pub(super) async fn the_exit_is_kept_until_delete(it: &Subject) {
    run(it, "c", "exit 3").await;
    let first = wait(it, "c", "").await;
    let stopped = state(it, "c", "").await;
    assert_eq!(stopped.status, Status::Stopped);
    assert_eq!(stopped.exit.map(|exit| exit.status), Some(3));
    assert_eq!(wait(it, "c", "").await.status, first.status);
    assert_eq!(delete(it, "c").await.status, 3);
}

pub(super) async fn the_exit_has_a_time(it: &Subject) {
    let before = SystemTime::now() - Duration::from_secs(1);
    run(it, "c", "exit 0").await;
    let Exit { at, .. } = wait(it, "c", "").await;
    let after = SystemTime::now() + Duration::from_secs(1);
    assert!(before <= at && at <= after, "{at:?}");
    assert_eq!(delete(it, "c").await.at, at);
}

pub(super) async fn wait_may_come_before_and_after_the_end(it: &Subject) {
    create(it, "c", &script(it, "c", "sleep 0.3; exit 5"), Stdio::default()).await;
    let early = async { wait(it, "c", "").await };
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        start(it, "c").await
    };
    let (exit, _) = tokio::join!(early, later);
    assert_eq!(exit.status, 5);
    assert_eq!(wait(it, "c", "").await, exit);
    delete(it, "c").await;
}

pub(super) async fn a_task_exists_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(
        it.tasks.create(&it.scope, task(it, "c", Stdio::default())).await,
        &[ErrorKind::AlreadyExists],
    );
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

pub(super) async fn a_task_needs_a_container(it: &Subject) {
    refused(
        it.tasks.create(&it.scope, task(it, "nobody", Stdio::default())).await,
        &[ErrorKind::NotFound],
    );
}

pub(super) async fn a_process_starts_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(
        it.tasks.start(&it.scope, "c", "").await,
        &[ErrorKind::FailedPrecondition, ErrorKind::Unknown],
    );
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

pub(super) async fn unknown_tasks_are_not_found(it: &Subject) {
    let (tasks, scope) = (&it.tasks, &it.scope);
    refused(tasks.start(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.get(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.delete(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.kill(scope, "x", "", 9, Reach::Process).await, &[ErrorKind::NotFound]);
    refused(tasks.pause(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.resume(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.pids(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.wait(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.resize(scope, "x", "", 80, 25).await, &[ErrorKind::NotFound]);
    refused(tasks.close_stdin(scope, "x", "").await, &[ErrorKind::NotFound]);
    let wanted = exec_request("x", "e", &process(&["true"]), Stdio::default());
    refused(tasks.exec(scope, wanted).await, &[ErrorKind::NotFound]);
    run(it, "c", FOREVER).await;
    refused(tasks.get(scope, "c", "no-exec").await, &[ErrorKind::NotFound]);
    refused(tasks.start(scope, "c", "no-exec").await, &[ErrorKind::NotFound]);
    end(it, "c").await;
}

pub(super) async fn a_running_task_cannot_be_deleted(it: &Subject) {
    run(it, "c", FOREVER).await;
    // containerd's shim knows no kind for it.
    let kinds = [ErrorKind::FailedPrecondition, ErrorKind::Unknown];
    refused(it.tasks.delete(&it.scope, "c", "").await, &kinds);
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

pub(super) async fn a_created_task_can_be_deleted(it: &Subject) {
    let pid = create(it, "c", &script(it, "c", "exit 0"), Stdio::default()).await;
    delete(it, "c").await;
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    eventually("the process that waited is gone", || async move {
        !fs::exists(format!("/proc/{pid}/root")).unwrap()
    })
    .await;
}

pub(super) async fn a_deleted_task_is_gone(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    refused(it.tasks.delete(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
}

pub(super) async fn a_task_can_be_made_again(it: &Subject) {
    run(it, "c", "exit 1").await;
    wait(it, "c", "").await;
    it.tasks.delete(&it.scope, "c", "").await.must("deleting");
    // The container is still there, and its task starts afresh.
    it.tasks.create(&it.scope, task(it, "c", Stdio::default())).await.must("creating");
    start(it, "c").await;
    assert_eq!(wait(it, "c", "").await.status, 1);
    delete(it, "c").await;
}

pub(super) async fn a_missing_program_is_named(it: &Subject) {
    // Clients look for these words to tell exit status 127 from others.
    let wanted = spec(it, "c", process(&["no-such-program"]));
    let error = try_create(it, "c", &wanted, Stdio::default()).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    let wanted = spec(it, "d", process(&["/no/such/program"]));
    let error = try_create(it, "d", &wanted, Stdio::default()).await.unwrap_err().to_string();
    assert!(error.contains("no such file or directory"), "{error}");
}

pub(super) async fn a_failed_creation_leaves_nothing(it: &Subject) {
    let wanted = spec(it, "c", process(&["no-such-program"]));
    try_create(it, "c", &wanted, Stdio::default()).await.unwrap_err();
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    it.containers.delete(&it.scope, "c").await.must("deleting the container");
    // The same id works at the next attempt.
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
}

pub(super) async fn tasks_belong_to_their_namespace(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(it.tasks.get(&it.other, "c", "").await, &[ErrorKind::NotFound]);
    refused(it.tasks.kill(&it.other, "c", "", 9, Reach::Process).await, &[ErrorKind::NotFound]);
    let there = it.tasks.list(&it.other, &Filters::default()).await.must("listing");
    assert_eq!(there, []);
    end(it, "c").await;
}

pub(super) async fn tasks_are_listed(it: &Subject) {
    let pid = run(it, "a", FOREVER).await;
    create(it, "b", &script(it, "b", "exit 0"), Stdio::default()).await;
    let mut listed = it.tasks.list(&it.scope, &Filters::default()).await.must("listing");
    listed.sort_by(|one, two| one.container_id.cmp(&two.container_id));
    let seen: Vec<(&str, Status)> =
        listed.iter().map(|task| (task.container_id.as_str(), task.status)).collect();
    assert_eq!(seen, [("a", Status::Running), ("b", Status::Created)]);
    assert_eq!(listed[0].pid, pid);
    end(it, "a").await;
    delete(it, "b").await;
}
