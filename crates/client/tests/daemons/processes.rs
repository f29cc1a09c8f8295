//! Tasks and exec processes.

use std::time::Duration;

use stowd_client::metrics::{exec_id_of, read};
use stowd_client::{Client, Io};
use stowd_core::ErrorKind;
use stowd_core::tasks::Status;
use tokio::io::AsyncWriteExt as _;

use crate::{Rig, all};

crate::on_both!(
    output_and_status_come_back,
    input_ends_with_ours,
    large_output_is_whole,
    a_process_is_executed,
    a_terminal_has_a_size,
    another_client_attaches,
    a_task_is_killed_and_frozen,
    a_program_that_is_not_there,
);

async fn output_and_status_come_back(rig: &Rig) {
    let container = rig.shell("c", "echo out; echo err >&2; exit 7").await.create().await.unwrap();
    let (streams, out, err) = rig.streams();
    let task = container.create_task(Io::Streams(streams), Default::default()).await.unwrap();
    assert!(task.pid() > 0);
    assert_eq!(task.status().await.unwrap(), Status::Created);
    assert_eq!(task.start().await.unwrap(), task.pid());
    assert_eq!(task.wait().await.unwrap().status, 7);
    assert_eq!(task.delete().await.unwrap().status, 7);
    assert_eq!((all(out).await.as_str(), all(err).await.as_str()), ("out\n", "err\n"));
    assert!(task.status().await.unwrap_err().is_not_found());
    container.delete_with_snapshot().await.unwrap();
    rig.nothing_is_left().await;
}

async fn input_ends_with_ours(rig: &Rig) {
    let container = rig.shell("c", "cat").await.create().await.unwrap();
    let (mut streams, out, _err) = rig.streams();
    // Over long before anything runs, and more than a fifo holds.
    let text = "0123456789abcde\n".repeat(20_000);
    streams.stdin = Some(Box::new(std::io::Cursor::new(text.clone().into_bytes())));
    let task = container.create_task(Io::Streams(streams), Default::default()).await.unwrap();
    task.start().await.unwrap();
    let (exit, said) = tokio::join!(task.wait(), all_then_drop(out, &task));
    assert_eq!(exit.unwrap().status, 0);
    assert_eq!(said.len(), text.len());
    assert!(said == text);
    task.delete().await.unwrap();
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
}

/// Reads all output; the writer's side is closed when the task's streams have ended.
async fn all_then_drop(out: tokio::io::DuplexStream, task: &stowd_client::Task) -> String {
    let (said, ()) = tokio::join!(all(out), task.output_ended());
    said
}

async fn large_output_is_whole(rig: &Rig) {
    let script = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done";
    let container = rig.shell("c", script).await.create().await.unwrap();
    let (streams, out, _err) = rig.streams();
    let task = container.create_task(Io::Streams(streams), Default::default()).await.unwrap();
    task.start().await.unwrap();
    let (exit, said) = tokio::join!(task.wait(), all_then_drop(out, &task));
    assert_eq!(exit.unwrap().status, 0);
    assert_eq!(said.lines().count(), 30_000);
    assert!(said.ends_with("line 29999\n"));
    task.delete().await.unwrap();
    container.remove().await.unwrap();
}

async fn a_process_is_executed(rig: &Rig) {
    let (container, task) = rig.start("c", "while :; do sleep 1; done").await;
    let mut process = container.spec().unwrap().process.unwrap();
    process.args = ["sh", "-c", "cat; exit 5"].map(str::to_owned).to_vec();
    let (mut streams, out, _err) = rig.streams();
    streams.stdin = Some(Box::new(&b"through\n"[..]));
    let exec = task.exec("e", &process, Io::Streams(streams)).await.unwrap();
    let pid = exec.start().await.unwrap();
    assert!(pid > 0 && pid != task.pid());
    assert_eq!(exec.wait().await.unwrap().status, 5);
    assert_eq!(exec.delete().await.unwrap().status, 5);
    assert_eq!(all(out).await, "through\n");
    process.args = vec!["sleep".into(), "1000".into()];
    let exec = task.exec("long", &process, Io::Null).await.unwrap();
    exec.start().await.unwrap();
    let ids: Vec<_> = task.pids().await.unwrap().iter().filter_map(exec_id_of).collect();
    assert_eq!(ids, ["long"]);
    let again = task.exec("long", &process, Io::Null).await.unwrap_err();
    assert!(again.is_already_exists(), "{again}");
    let error = exec.delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert_eq!(exec.kill_and_delete().await.unwrap().status, 137);
    assert_eq!(task.kill_and_delete().await.unwrap().status, 137);
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
}

async fn a_terminal_has_a_size(rig: &Rig) {
    let container = rig
        .shell("c", "while [ \"$(stty size 2>/dev/null)\" != '40 100' ]; do sleep 0.05; done; tty")
        .await
        .adjust(|spec, _| {
            spec.use_terminal();
            Ok(())
        })
        .create()
        .await
        .unwrap();
    let (mut streams, out, _err) = rig.streams();
    streams.terminal = true;
    let task = container.create_task(Io::Streams(streams), Default::default()).await.unwrap();
    task.start().await.unwrap();
    task.resize(100, 40).await.unwrap();
    assert_eq!(task.wait().await.unwrap().status, 0);
    task.delete().await.unwrap();
    assert_eq!(all(out).await, "/dev/pts/0\r\n");
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
}

async fn another_client_attaches(rig: &Rig) {
    let container = rig.shell("c", "read line; echo got $line").await.create().await.unwrap();
    let (mut streams, ..) = rig.streams();
    (streams.stdout, streams.stderr) = (None, None);
    let task = container.create_task(Io::Streams(streams), Default::default()).await.unwrap();
    task.start().await.unwrap();
    let other = Client::connect(rig.daemon.socket(), rig.client.namespace()).await.unwrap();
    let (mut streams, out, _err) = rig.streams();
    let (stdin, mut keys) = tokio::io::duplex(64);
    streams.stdin = Some(Box::new(stdin));
    let attached = other.container("c").await.unwrap().attach(streams).await.unwrap();
    keys.write_all(b"this\n").await.unwrap();
    assert_eq!(attached.wait().await.unwrap().status, 0);
    attached.delete().await.unwrap();
    assert_eq!(all(out).await, "got this\n");
    // The first handle learns of it.
    assert!(task.delete().await.unwrap_err().is_not_found());
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
}

async fn a_task_is_killed_and_frozen(rig: &Rig) {
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    let (container, task) = rig.start("c", script).await;
    task.pause().await.unwrap();
    assert_eq!(task.status().await.unwrap(), Status::Paused);
    task.resume().await.unwrap();
    assert_eq!(task.status().await.unwrap(), Status::Running);
    let numbers = read(&task.metrics().await.unwrap()).unwrap();
    let json = serde_json::to_value(&numbers).unwrap();
    assert!(json["pids"]["current"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(task.delete().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert_eq!(container.delete().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    // The shell may not have set its trap yet, and then the signal is ignored.
    let exit = loop {
        task.kill(15).await.unwrap();
        if let Ok(exit) = tokio::time::timeout(Duration::from_millis(200), task.wait()).await {
            break exit.unwrap();
        }
    };
    assert_eq!(exit.status, 3);
    assert!(task.kill(15).await.unwrap_err().is_not_found());
    task.delete().await.unwrap();
    container.remove().await.unwrap();
    let (container, task) = rig.start("d", script).await;
    task.pause().await.unwrap();
    assert_eq!(task.kill_and_delete().await.unwrap().status, 137);
    container.remove().await.unwrap();
    rig.nothing_is_left().await;
}

async fn a_program_that_is_not_there(rig: &Rig) {
    let image = rig.import(Some(String::new())).await;
    let container =
        rig.client.new_container("c").image(&image).args(["/absent"]).create().await.unwrap();
    let (streams, ..) = rig.streams();
    let task = container.create_task(Io::Streams(streams), Default::default()).await;
    // Which of the two fails is the runtime's choice.
    let error = match task {
        Err(error) => error,
        Ok(task) => {
            let error = task.start().await.unwrap_err();
            task.kill_and_delete().await.unwrap();
            error
        }
    };
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    container.delete_with_snapshot().await.unwrap();
    rig.nothing_is_left().await;
}
