//! What is said before the command, and statuses that are ctr's.

use std::path::Path;
use std::process::Command;

use stowd_testing::need;
use stowd_testing::process::Run;
use stowd_testing::{Version, daemon::programs};

use crate::{IMAGE, It};

#[test]
fn the_environment_names_daemon_and_namespace() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let listed = |program: &Path, before: &[&str]| {
        let mut command = Command::new(program);
        command.env("CONTAINERD_ADDRESS", it.daemon.socket());
        command.env("CONTAINERD_NAMESPACE", it.daemon.namespace());
        command.args(before).args(["images", "ls", "-q"]);
        Run::new(command).ok()
    };
    let ctr = Version::V2.program("ctr");
    for program in [&*ctr, &it.path("ctr"), &programs().join("stowctl")] {
        assert_eq!(listed(program, &[]), format!("{IMAGE}\n"));
        assert_eq!(listed(program, &["-n", "empty"]), "", "flags win");
    }
}

#[test]
fn statuses_are_ctrs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let ctr = Version::V2.program("ctr");
    let socket = it.daemon.socket();
    for args in [
        &[][..],
        &["ns"],
        &["images"],
        &["help"],
        &["ns", "--help"],
        &["nope"],
        &["ns", "nope"],
        &["snapshots", "nope"],
        &["--nope"],
        &["ns", "ls", "--nope"],
        &["-n"],
        &["--timeout", "nope", "ns", "ls"],
        &["-a", "/no/such.sock", "ns", "ls"],
        &["--connect-timeout", "1s", "-a", "/no/such.sock", "ns", "ls"],
        &["run", "--rm", IMAGE, "x", "/absent"],
        &["run", "--rm", IMAGE, "x", "/bin"],
        &["run", "--rm", IMAGE, "x", "sh", "-c", "exit 126"],
        &["run", "--rm", IMAGE, "x", "sh", "-c", "exit 127"],
        &["run", "--rm", IMAGE, "x", "sh", "-c", "kill -9 $$"],
    ] {
        let status = |program: &Path| {
            let mut command = Command::new(program);
            command.env("CONTAINERD_ADDRESS", &socket);
            command.env("CONTAINERD_NAMESPACE", it.daemon.namespace());
            command.args(args);
            let output = Run::new(command).output();
            // ctr's help goes to standard output even after a mistake.
            (output.status, output.status.success() && output.stdout.is_empty())
        };
        assert_eq!(status(&it.path("ctr")), status(&ctr), "{args:?}");
    }
    it.nothing_is_left();
}

#[test]
fn every_table_is_json_too() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("d", "sleep 1000 & wait");
    for args in [
        &["version"][..],
        &["namespaces", "ls"],
        &["containers", "ls"],
        &["tasks", "ls"],
        &["tasks", "ps", "d"],
        &["tasks", "metrics", "d"],
        &["images", "ls"],
        &["images", "check"],
        &["images", "usage", IMAGE],
        &["images", "inspect", IMAGE],
        &["content", "ls"],
        &["content", "active"],
        &["snapshots", "ls"],
        &["snapshots", "usage"],
        &["snapshots", "tree"],
        &["leases", "ls"],
        &["plugins", "ls"],
        &["plugins", "ls", "-d"],
        &["plugins", "inspect-runtime"],
        &["deprecations", "list"],
        &["info"],
    ] {
        let said = it.stowctl(&[&["--json"], args].concat()).ok();
        let read = serde_json::from_str::<serde_json::Value>(&said);
        assert!(read.is_ok_and(|it| it.is_object() || it.is_array()), "{args:?}: {said}");
    }
    it.ctr(&["t", "rm", "-f", "d"]).ok();
}
