//! What the daemon tells: `plugins`, `info`, `deprecations`, `events`.

use std::process::Command;

use stowd_testing::Version;
use stowd_testing::daemon::programs;
use stowd_testing::process::{Background, wait_for};

use crate::{IMAGE, rig};

#[test]
fn the_daemon_tells_of_itself() {
    let rig = rig!();
    assert!(rig.same(&["plugins", "ls"]).contains("overlayfs"));
    rig.same(&["plugin", "list", "-q"]);
    rig.same(&["plugins", "ls", "type==io.containerd.snapshotter.v1"]);
    // One export only: ctr shows several in any order.
    rig.same(&["plugins", "ls", "-d", "id==overlayfs"]);
    rig.same(&["info"]);
    rig.same(&["deprecations", "list"]);
    rig.same(&["deprecations", "list", "--format", "json"]);
    let plugins = rig.json(&["plugins", "ls", "id==overlayfs"]);
    assert_eq!(plugins[0]["status"], "ok");
    assert_eq!(rig.json(&["info"])["server"]["pid"], rig.daemon.pid());
    assert_eq!(rig.json(&["deprecations", "list"]), serde_json::json!([]));
}

#[test]
fn runtimes_tell_of_themselves() {
    let rig = rig!();
    let info = |args: &[&str]| {
        let args = [&["plugins", "inspect-runtime"], args].concat();
        let parse = |said: String| serde_json::from_str::<serde_json::Value>(&said).unwrap();
        // ctr shows those features that it knows, in an order of its own.
        let (ours, theirs) = (rig.ok(&args), rig.daemon.ctr(Version::V2).args(&args).ok());
        let (ours, theirs) = (parse(ours), parse(theirs));
        assert_eq!(ours, theirs, "{args:?}");
        ours
    };
    let own = info(&[]);
    assert_eq!(own["Name"], "io.containerd.runc.v2");
    assert_eq!(own["Features"]["linux"]["seccomp"]["enabled"], true);
    assert_eq!(info(&["--runc-root", "/x"])["Options"]["root"], "/x");
    let runc = Version::V1_6.program("runc");
    let other = info(&["--runc-binary", runc.to_str().unwrap()]);
    assert_eq!(other["Options"]["binary_name"], runc.to_str().unwrap());
    assert_ne!(other["Features"], own["Features"]);
    assert_eq!(info(&["--runtime", "/bin/true"])["Features"], serde_json::Value::Null);
    rig.same_failure(&["plugins", "inspect-runtime", "--runtime", "/bin/false"]);
    rig.same_failure(&[
        "plugins",
        "inspect-runtime",
        "--runtime",
        "/bin/true",
        "--runc-binary",
        "x",
    ]);
}

#[test]
fn events_are_told_as_ctr_does() {
    let rig = rig!();
    let listen = |program: std::path::PathBuf, more: &[&str], log: &str| {
        let mut command = Command::new(program);
        command.arg("-a").arg(rig.daemon.socket()).args(["-n", rig.daemon.namespace()]);
        command.args(more);
        Background::start(command, &rig.scratch.join(log))
    };
    let ours = listen(programs().join("stowctl"), &["events"], "ours");
    let theirs = listen(Version::V2.program("ctr"), &["events"], "theirs");
    let json = listen(programs().join("stowctl"), &["--json", "event"], "json");
    let filtered = listen(programs().join("stowctl"), &["events", "topic~=|^/tasks/|"], "tasks");
    let listeners = [&ours, &theirs, &json];
    // Nothing says when a subscription stands; a namespace made and seen does.
    let mut number = 0;
    let heard = wait_for(|| {
        number += 1;
        rig.ok(&["namespaces", "create", &format!("probe-{number}")]);
        listeners.iter().all(|listener| listener.log().contains("/namespaces/create"))
    });
    assert!(heard, "nothing is told");
    rig.import();
    rig.daemon.ctr(Version::V2).args(["run", "--rm", IMAGE, "c", "true"]).ok();
    rig.ok(&["images", "rm", "--sync", IMAGE]);
    rig.ok(&["namespaces", "create", "last"]);
    let all = listeners.iter().all(|listener| wait_for(|| listener.log().contains("\"last\"")));
    assert!(all, "the end is not told");
    let after = |log: String| {
        let lines = log.lines().skip_while(|line| line.contains("probe-"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(after(ours.log()), after(theirs.log()));
    let line = json.log().lines().last().unwrap().to_owned();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["topic"], &event["event"]["name"]),
        (&"/namespaces/create".into(), &"last".into())
    );
    assert!(filtered.log().lines().all(|line| line.contains(" /tasks/")), "{}", filtered.log());
}
