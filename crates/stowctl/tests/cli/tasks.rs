//! `tasks`.

use std::io::{BufRead as _, BufReader};

use rustix::process::Signal;
use stowd_testing::need;

use crate::{FOREVER, IMAGE, It, signal, stderr};

#[test]
fn tables_are_ctrs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.as_ctr(&["tasks", "ls"]);
    it.start("d", "sleep 1000 & wait");
    it.start("longer-name", FOREVER);
    assert!(it.as_ctr(&["t", "ls"]).contains("RUNNING"));
    it.as_ctr(&["t", "ls", "-q"]);
    it.ctr(&["t", "exec", "-d", "--exec-id", "e", "d", "sleep", "1000"]).ok();
    assert!(it.as_ctr(&["t", "ps", "d"]).contains("exec_id:\"e\""));
    assert!(it.as_ctr(&["t", "metrics", "d"]).contains("pids"));
    let json = it.as_ctr(&["t", "metrics", "--format", "json", "d"]);
    assert!(json.contains("\"pids\""), "{json}");
    it.ctr(&["t", "pause", "d"]).ok();
    assert!(it.as_ctr(&["t", "ls"]).contains("PAUSED"));
    it.ctr(&["t", "resume", "d"]).ok();
    it.ctr(&["t", "rm", "-f", "d", "longer-name"]).ok();
}

#[test]
fn errors_are_ctrs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.ctr(&["c", "create", IMAGE, "idle"]).ok();
    it.start("d", FOREVER);
    for args in [
        &["t", "kill"][..],
        &["t", "kill", "absent"],
        &["t", "kill", "idle"],
        &["t", "kill", "-s", "NOPE", "d"],
        &["t", "kill", "-a", "--exec-id", "x", "d"],
        &["t", "rm", "absent"],
        &["t", "rm", "idle"],
        &["t", "rm", "d"],
        &["t", "ps", "idle"],
        &["t", "pause", "absent"],
        &["t", "metrics", "idle"],
        &["t", "metrics", "--format", "x", "d"],
        &["t", "exec", "--exec-id", "e", "absent", "true"],
        &["t", "exec", "--exec-id", "e", "idle", "true"],
        &["t", "exec", "--exec-id", "e", "d", "/absent"],
        &["t", "start", "absent"],
        &["t", "attach", "absent"],
    ] {
        it.fails_as_ctr(args);
    }
    it.ctr(&["t", "rm", "-f", "d"]).ok();
}

#[test]
fn processes_are_executed() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("d", FOREVER);
    // An id is made up where none is given.
    assert_eq!(it.stowctl(&["t", "exec", "d", "echo", "inside"]).ok(), "inside\n");
    assert_eq!(it.stowctl(&["t", "exec", "d", "cat"]).input("in\n").ok(), "in\n");
    let output = it.stowctl(&["t", "exec", "d", "sh", "-c", "echo bad >&2; exit 5"]).output();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(5), "bad\n"));
    let said = it
        .ctr(&[
            "t",
            "exec",
            "--exec-id",
            "e",
            "--cwd",
            "/etc",
            "--user",
            "1000:3",
            "d",
            "sh",
            "-c",
            "pwd; id -u; id -g",
        ])
        .ok();
    assert_eq!(said, "/etc\n1000\n3\n");
    let said = it.stowctl(&["t", "exec", "-e", "A=b", "d", "sh", "-c", "echo $A"]).ok();
    assert_eq!(said, "b\n");
    it.ctr(&["t", "exec", "-d", "--exec-id", "long", "d", "sleep", "1000"]).ok();
    it.fails_as_ctr(&["t", "exec", "--exec-id", "long", "d", "true"]);
    it.ctr(&["t", "kill", "--exec-id", "long", "-s", "9", "d"]).ok();
    let mut code = None;
    stowd_testing::process::wait_for(|| {
        code = it.ctr(&["t", "rm", "--exec-id", "long", "d"]).output().status.code();
        code == Some(137)
    });
    assert_eq!(code, Some(137));
    let script = format!("trap 'exit 4' TERM; echo ready; {FOREVER}");
    let mut child = it.spawn("stowctl", &["t", "exec", "d", "sh", "-c", &script]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(4));
    it.stowctl(&["t", "rm", "-f", "d"]).ok();
    it.stowctl(&["c", "rm", "d"]).ok();
    it.nothing_is_left();
}

#[test]
fn a_task_is_killed_and_deleted() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("d", FOREVER);
    it.ctr(&["t", "kill", "--all", "--signal", "SIGKILL", "d"]).ok();
    it.until("d", "STOPPED");
    it.fails_as_ctr(&["t", "kill", "d"]);
    // As ctr, its status is told and is not the command's.
    let output = it.ctr(&["t", "rm", "d"]).output();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("task d exit with non-zero exit code 137"));
    it.ctr(&["c", "rm", "d"]).ok();
    it.nothing_is_left();
}

#[test]
fn one_attaches_to_a_task() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.ctr(&["c", "create", IMAGE, "d", "sh", "-c", "read line; echo got $line; exit 6"]).ok();
    it.ctr(&["t", "start", "-d", "d"]).ok();
    let output = it.ctr(&["t", "attach", "d"]).input("this\n").output();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got this\n");
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    it.ctr(&["c", "rm", "d"]).ok();
    it.nothing_is_left();
}
