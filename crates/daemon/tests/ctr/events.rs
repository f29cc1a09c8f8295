//! What `ctr events` shows while others work.

use std::process::Command;

use stowd_testing::daemon::Kind;
use stowd_testing::process::{Background, wait_for};
use stowd_testing::transcript::Session;

use crate::{IMAGE, import};

crate::scripts!(a_run_is_told_in_order, changes_of_images_are_told);

/// Returns the topics that are told from `act` on until all of `last` have been.
fn told(it: &mut Session<'_>, last: &[&str], act: impl FnOnce(&mut Session<'_>)) -> Vec<String> {
    let log = it.folder.join("events");
    let mut command = Command::new(it.client.program("ctr"));
    command.arg("-a").arg(it.daemon.socket()).args(["-n", it.daemon.namespace(), "events"]);
    let listener = Background::start(command, &log);
    // Nothing says when a subscription stands; a namespace made and seen does.
    let mut number = 0;
    let heard = wait_for(|| {
        number += 1;
        it.quiet(&["namespaces", "create", &format!("probe-{number}")]);
        listener.log().contains("/namespaces/create")
    });
    assert!(heard, "nothing is told:\n{}", listener.log());
    act(it);
    let all = wait_for(|| last.iter().all(|topic| listener.log().contains(topic)));
    assert!(all, "not all of {last:?} in\n{}", listener.log());
    listener
        .log()
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .filter(|topic| !topic.starts_with("/namespaces/"))
        .map(str::to_owned)
        .collect()
}

fn a_run_is_told_in_order(it: &mut Session<'_>) {
    import(it);
    // containerd's shim may end before its last event is through, so only stowd is held to it.
    let strict = it.daemon.kind() == Kind::Stowd;
    let last = if strict { "/tasks/delete" } else { "/tasks/exit" };
    let mut topics = told(it, &["/containers/delete", last], |it| {
        it.quiet(&["run", "--rm", IMAGE, "c", "true"]);
    });
    let tasks: Vec<&str> =
        topics.iter().map(String::as_str).filter(|topic| topic.starts_with("/tasks/")).collect();
    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(tasks, expected[..tasks.len()]);
    assert!(!strict || tasks == expected, "{tasks:?}");
    // What different services tell of is only in order for each of them.
    topics.retain(|topic| topic != "/tasks/delete");
    topics.sort();
    it.note(&["events"], &topics.join("\n"));
}

fn changes_of_images_are_told(it: &mut Session<'_>) {
    let topics = told(it, &["/images/delete"], |it| {
        import(it);
        it.quiet(&["images", "label", IMAGE, "a=1"]);
        it.quiet(&["images", "rm", "--sync", IMAGE]);
    });
    let images: Vec<&str> =
        topics.iter().map(String::as_str).filter(|topic| topic.starts_with("/images/")).collect();
    it.note(&["events"], &images.join("\n"));
}
