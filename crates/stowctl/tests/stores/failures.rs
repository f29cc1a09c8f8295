//! What a user is told when something is wrong.

use stowd_testing::daemon::programs;
use stowd_testing::process::Run;
use stowd_testing::registry::Registry;

use crate::{IMAGE, rig};

#[test]
fn errors_are_ctrs() {
    let rig = rig!();
    rig.same_failure(&["images", "label", "absent", "a=1"]);
    rig.same_failure(&["images", "tag", "absent", "test.example/other:1"]);
    rig.same_failure(&["images", "usage", "absent"]);
    rig.same_failure(&["images", "inspect", "absent"]);
    rig.same_failure(&["images", "push", "test.example/absent:1", "absent"]);
    rig.same_failure(&["snapshots", "rm", "absent"]);
    rig.same_failure(&["content", "get", &format!("sha256:{}", "0".repeat(64))]);
    let registry = Registry::start(&rig.scratch);
    let absent = format!("{}/absent:1", registry.host());
    rig.same_failure(&["images", "pull", "--plain-http", &absent]);
}

#[test]
fn errors_say_what_to_do() {
    let rig = rig!();
    rig.import();
    let absent = rig.path("absent");
    for (args, part) in [
        (&["images", "label", "absent", "a=1"][..], "hint: `images ls -q`"),
        (&["images", "pull", "busybox"], "hint: write it in full"),
        (&["images", "pull", "test.example/a"], "hint: add a tag or a digest"),
        (&["images", "pull", "127.0.0.1:1/a:1"], "hint: nothing listens there"),
        (&["images", "pull", "test.example/a:1", "--tlscacert", &absent], "open "),
        (&["images", "import", &absent], "No such file"),
        (&["images", "import", "/"], "hint: pack it first"),
        (&["images", "import", "/etc/passwd"], "unrecognized image format"),
        (&["images", "export", "/absent/folder/a.tar", IMAGE], "create /absent/folder/a.tar"),
        (&["images", "export", &absent, "no-such-image"], "not found"),
        (&["images", "ls", "name=="], "expected value or quoted"),
        (&["images", "label", IMAGE, "=x"], "hint: labels are KEY=VALUE"),
        (&["content", "get", "not-a-digest"], "invalid checksum digest"),
        (&["content", "get", "sha256:short"], "invalid checksum digest"),
        (&["content", "rm", "not-a-digest"], "could not delete not-a-digest"),
        (&["content", "ingest", "--expected-digest", "x", "one"], "invalid checksum digest"),
        (&["content", "fetch", "--metadata-only", "a.b/c:1"], "not implemented"),
        (&["snapshots", "unpack", &format!("sha256:{}", "0".repeat(64))], "manifest not found"),
    ] {
        let said = rig.fails(args);
        assert!(said.starts_with("stowctl: ") && said.contains(part), "{args:?}: {said}");
    }
    assert!(!rig.scratch.join("absent").exists(), "no archive is left of an export that failed");
}

#[test]
fn a_daemon_that_is_not_there_is_told_of() {
    stowd_testing::need!(stowd);
    let program = programs().join("stowctl");
    let said = Run::program(program).args(["-a", "/no/such.sock", "images", "ls"]).fails();
    assert!(said.starts_with("stowctl: connect to /no/such.sock: "), "{said}");
    assert!(said.contains("hint: is the daemon running"), "{said}");
}
