//! Many containers at once.

use std::thread;

use stowd_testing::process::wait_for;
use stowd_testing::{Daemon, Scratch, need};

use crate::{IMAGE, assert_no_tasks_left, assert_unharmed, collect, ctr, held, import};

const MANY: usize = 100;

/// Does something for each of the crowd, all at once.
fn each(act: impl Fn(&str, usize) + Sync) {
    thread::scope(|scope| {
        for number in 0..MANY {
            let act = &act;
            scope.spawn(move || act(&format!("c{number}"), number));
        }
    });
}

/// Counts tasks that are in a state.
fn count(daemon: &Daemon, state: &str) -> usize {
    let listed = ctr(daemon, &["tasks", "ls"]).ok();
    listed.lines().skip(1).filter(|line| line.split_whitespace().nth(2) == Some(state)).count()
}

#[test]
fn a_hundred_containers_start_and_end_together() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    collect(&daemon);
    let before = held(&daemon);

    // Each ends with a code of its own, so that no exit can stand for another.
    each(|id, number| {
        let script = format!("trap 'exit {}' TERM; while :; do sleep 0.2; done", number + 1);
        ctr(&daemon, &["run", "-d", "--null-io", IMAGE, id, "sh", "-c", &script]).ok();
    });
    assert_eq!(count(&daemon, "RUNNING"), MANY);

    // The shell may not have set its trap yet when `run` returns: the signal is sent until it takes.
    each(|id, _| {
        ctr(&daemon, &["tasks", "kill", "-s", "TERM", id]).output();
    });
    assert!(
        wait_for(|| {
            if count(&daemon, "STOPPED") == MANY {
                return true;
            }
            each(|id, _| {
                ctr(&daemon, &["tasks", "kill", "-s", "TERM", id]).output();
            });
            false
        }),
        "{} of {MANY} have ended",
        count(&daemon, "STOPPED")
    );

    each(|id, number| {
        let removed = ctr(&daemon, &["tasks", "rm", id]).output();
        // `ctr` 2 ends with 0 all the same, and tells the code only in words.
        let said = String::from_utf8_lossy(&removed.stderr).into_owned();
        assert!(said.contains(&format!("exit code {}\"", number + 1)), "{id}: {said}");
        ctr(&daemon, &["containers", "rm", id]).ok();
    });
    assert_eq!(ctr(&daemon, &["tasks", "ls", "-q"]).ok(), "");
    assert_eq!(ctr(&daemon, &["containers", "ls", "-q"]).ok(), "");
    assert_no_tasks_left(&daemon);
    collect(&daemon);
    assert_eq!(held(&daemon), before);
    assert_unharmed(&mut daemon);
}
