//! Input, output and terminals.

use std::fs;

use serde_json::json;
use stowd_core::tasks::Stdio;

use super::super::Must as _;
use super::rig::{Streams, create, delete, end, run, script, start, state, wait};
use super::{FOREVER, Subject};

pub(super) async fn output_goes_to_fifos(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    let text = "echo out; echo err >&2; yes | head -c 300000";
    create(it, "c", &script(it, "c", text), streams.stdio.clone()).await;
    start(it, "c").await;
    wait(it, "c", "").await;
    let deleted = delete(it, "c").await;
    assert_eq!(deleted.status, 0);
    let output = streams.output();
    assert_eq!(output.len(), 300_004, "{:.100}", output);
    assert!(output.starts_with("out\ny\ny\n"));
    assert_eq!(streams.errors(), "err\n");
}

pub(super) async fn output_goes_to_files(it: &Subject) {
    let path = it.folder.join("log.txt");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Default::default() };
    create(it, "c", &script(it, "c", "echo to the file"), stdio).await;
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(fs::read_to_string(path).unwrap(), "to the file\n");
}

pub(super) async fn a_task_without_streams_runs(it: &Subject) {
    run(it, "c", "echo nowhere; echo nowhere >&2; cat; exit 4").await;
    assert_eq!(wait(it, "c", "").await.status, 4);
    delete(it, "c").await;
}

pub(super) async fn input_comes_from_a_fifo(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", "read line; echo \"got $line\""), streams.stdio.clone()).await;
    start(it, "c").await;
    streams.write("a line\n");
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "got a line\n");
}

pub(super) async fn closing_input_ends_it(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", "cat; echo end"), streams.stdio.clone()).await;
    start(it, "c").await;
    streams.write("all of it\n");
    it.tasks.close_stdin(&it.scope, "c", "").await.must("closing standard input");
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "all of it\nend\n");
}

pub(super) async fn streams_are_answered(it: &Subject) {
    let streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", FOREVER), streams.stdio.clone()).await;
    assert_eq!(state(it, "c", "").await.stdio, streams.stdio);
    start(it, "c").await;
    end(it, "c").await;
}

pub(super) async fn a_terminal_is_one(it: &Subject) {
    let mut streams = Streams::new(it, "c", true);
    let mut wanted = script(it, "c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all");
    wanted["process"]["terminal"] = json!(true);
    create(it, "c", &wanted, streams.stdio.clone()).await;
    assert!(state(it, "c", "").await.stdio.terminal);
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "/dev/pts/0\r\nall\r\n");
}

pub(super) async fn a_terminal_has_a_size(it: &Subject) {
    let mut streams = Streams::new(it, "c", true);
    let mut wanted = script(it, "c", "read go; stty size");
    wanted["process"]["terminal"] = json!(true);
    create(it, "c", &wanted, streams.stdio.clone()).await;
    start(it, "c").await;
    it.tasks.resize(&it.scope, "c", "", 123, 45).await.must("resizing");
    streams.write("go\n");
    wait(it, "c", "").await;
    delete(it, "c").await;
    let output = streams.output();
    assert!(output.contains("45 123"), "{output:?}");
}
