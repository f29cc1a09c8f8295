//! Further processes in a task.

use std::fs;

use stowd_core::ErrorKind;
use stowd_core::tasks::{Reach, Status, Stdio};

use super::super::{Must as _, eventually, refused};
use super::rig::{Streams, delete, end, exec, exec_request, process, run, state, status, wait};
use super::{FOREVER, Subject};

pub(super) async fn an_exec_runs_in_the_task(it: &Subject) {
    run(it, "c", &format!("echo here > /tmp/mark; {FOREVER}")).await;
    let mut streams = Streams::new(it, "e", false);
    let wanted = process(&["sh", "-c", "until cat /tmp/mark; do :; done; hostname"]);
    exec(it, "c", "e", &wanted, streams.stdio.clone()).await;
    let made = state(it, "c", "e").await;
    assert_eq!((made.exec_id.as_str(), made.status), ("e", Status::Created));
    let pid = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    assert!(pid > 0);
    wait(it, "c", "e").await;
    let exit = it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!((exit.pid, exit.status), (pid, 0));
    assert_eq!(streams.output().lines().last(), Some("hold"));
    refused(it.tasks.get(&it.scope, "c", "e").await, &[ErrorKind::NotFound]);
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

pub(super) async fn an_exec_has_its_own_exit(it: &Subject) {
    run(it, "c", FOREVER).await;
    for code in [0, 3, 255] {
        let id = format!("e{code}");
        let wanted = process(&["sh", "-c", &format!("exit {code}")]);
        exec(it, "c", &id, &wanted, Stdio::default()).await;
        it.tasks.start(&it.scope, "c", &id).await.must("starting");
        assert_eq!(wait(it, "c", &id).await.status, code);
        let stopped = state(it, "c", &id).await;
        assert_eq!(stopped.exit.map(|exit| exit.status), Some(code));
        let exit = it.tasks.delete(&it.scope, "c", &id).await.must("deleting the exec");
        assert_eq!(exit.status, code);
    }
    end(it, "c").await;
}

pub(super) async fn an_exec_has_its_own_streams(it: &Subject) {
    run(it, "c", FOREVER).await;
    let mut streams = Streams::new(it, "e", false);
    let wanted = process(&["sh", "-c", "cat; echo err >&2"]);
    exec(it, "c", "e", &wanted, streams.stdio.clone()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    streams.write("through\n");
    it.tasks.close_stdin(&it.scope, "c", "e").await.must("closing standard input");
    wait(it, "c", "e").await;
    it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!(streams.output(), "through\n");
    assert_eq!(streams.errors(), "err\n");
    end(it, "c").await;
}

pub(super) async fn an_exec_id_is_taken_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    let again = exec_request("c", "e", &process(&["true"]), Stdio::default());
    refused(it.tasks.exec(&it.scope, again).await, &[ErrorKind::AlreadyExists]);
    end(it, "c").await;
}

pub(super) async fn an_exec_needs_a_running_task(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    let wanted = exec_request("c", "e", &process(&["true"]), Stdio::default());
    let made = it.tasks.exec(&it.scope, wanted).await;
    if made.is_ok() {
        // Some refuse when the exec starts, not when it is made.
        assert!(it.tasks.start(&it.scope, "c", "e").await.is_err(), "exec in a finished task");
    }
    delete(it, "c").await;
}

pub(super) async fn a_missing_program_of_an_exec_is_named(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["no-such-program"]), Stdio::default()).await;
    let error = it.tasks.start(&it.scope, "c", "e").await.unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    end(it, "c").await;
}

pub(super) async fn an_exec_can_be_killed_alone(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    it.tasks.kill(&it.scope, "c", "e", 9, Reach::Process).await.must("killing the exec");
    assert_eq!(wait(it, "c", "e").await.status, 137);
    it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

pub(super) async fn deleting_the_task_ends_its_execs(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    let pid = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    end(it, "c").await;
    eventually("the exec's process is gone", || async move {
        !fs::exists(format!("/proc/{pid}/root")).unwrap()
    })
    .await;
}
