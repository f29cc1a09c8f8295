//! What a user is told when something is wrong, word for word.

use stowd_testing::transcript::Session;

use crate::{IMAGE, import, start};

crate::scripts!(what_is_not_there, what_cannot_run, names_that_are_none);

fn what_is_not_there(it: &mut Session<'_>) {
    it.fails(&["run", "--rm", "test.example/absent:1", "c"]);
    it.fails(&["tasks", "kill", "absent"]);
    it.fails(&["tasks", "rm", "absent"]);
    it.fails(&["tasks", "exec", "--exec-id", "e", "absent", "true"]);
    it.fails(&["tasks", "pause", "absent"]);
    it.fails(&["tasks", "metrics", "absent"]);
    it.fails(&["containers", "rm", "absent"]);
    it.fails(&["snapshots", "rm", "absent"]);
    it.fails(&["images", "label", "absent", "a=1"]);
    it.fails(&["images", "tag", "absent", "other"]);
    // Not an error: it is gone.
    it.ctr(&["namespaces", "rm", "absent"]);
}

fn what_cannot_run(it: &mut Session<'_>) {
    import(it);
    let said = it.quiet_failure(&["run", "--rm", IMAGE, "c", "/no/such/program"]);
    assert!(said.contains("/no/such/program") && said.contains("no such file"), "{said}");
    let said = it.quiet_failure(&["run", "--rm", IMAGE, "c", "/etc/passwd"]);
    assert!(said.contains("permission denied"), "{said}");
    let said =
        it.quiet_failure(&["run", "--rm", "--runtime", "io.containerd.absent.v1", IMAGE, "c"]);
    assert!(said.contains("absent"), "{said}");
    let said = it.quiet_failure(&["run", "--rm", "--cwd", "relative", IMAGE, "c", "true"]);
    assert!(said.contains("cwd") || said.contains("Cwd") || said.contains("relative"), "{said}");
    // A failed run leaves nothing, and the name is free again.
    it.ctr(&["containers", "ls"]);
    it.ctr(&["tasks", "ls"]);
    it.ctr(&["snapshots", "ls"]);
    it.ctr(&["run", "--rm", IMAGE, "c", "echo", "works"]);
    start(it, "taken", "sleep 1000");
    it.fails(&["run", "-d", IMAGE, "taken", "true"]);
    it.quiet(&["tasks", "rm", "-f", "taken"]);
}

fn names_that_are_none(it: &mut Session<'_>) {
    import(it);
    let long = "x".repeat(100);
    for id in ["../up", "a/b", "", "-dash", "a b", long.as_str()] {
        it.fails(&["containers", "create", IMAGE, id, "true"]);
    }
    it.fails(&["-n", "not/good", "images", "ls"]);
    // containerd's words are those of Go's parser of URLs; ours name the reference.
    let said = it.quiet_failure(&["images", "pull", "--plain-http", "not a reference"]);
    assert!(said.contains("not a reference"), "{said}");
    it.fails(&["content", "get", "not-a-digest"]);
    it.fails(&["content", "get", "sha256:short"]);
}
