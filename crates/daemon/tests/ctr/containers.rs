//! Containers as records.

use stowd_testing::transcript::Session;

use crate::{IMAGE, import, until};

crate::scripts!(create_show_and_remove, info_tells_the_spec, containers_in_detail,);

fn create_show_and_remove(it: &mut Session<'_>) {
    import(it);
    it.ctr(&["containers", "ls"]);
    it.ctr(&["containers", "create", "--label", "a=1", IMAGE, "one", "echo", "later"]);
    it.ctr(&["containers", "create", IMAGE, "two"]);
    it.fails(&["containers", "create", IMAGE, "two"]);
    it.ctr(&["containers", "ls"]);
    it.ctr(&["containers", "ls", "-q"]);
    it.ctr(&["containers", "ls", "labels.a==1"]);
    it.ctr(&["containers", "label", "two", "b=2"]);
    it.ctr(&["containers", "label", "one", "a="]);
    it.ctr(&["containers", "ls", "-q", "labels.b==2"]);
    assert_eq!(it.ctr(&["tasks", "start", "one"]), "later\n");
    it.ctr(&["snapshots", "ls"]);
    it.ctr(&["containers", "rm", "--keep-snapshot", "one"]);
    it.ctr(&["containers", "rm", "two"]);
    it.fails(&["containers", "rm", "two"]);
}

fn info_tells_the_spec(it: &mut Session<'_>) {
    import(it);
    it.ctr(&["containers", "create", "--env", "A=b", "--privileged", IMAGE, "one"]);
    let told = it.ctr(&["containers", "info", "one"]);
    assert!(told.contains("io.containerd.runc.v2") && told.contains("A=b"), "{told}");
    it.fails(&["containers", "info", "absent"]);
}

fn containers_in_detail(it: &mut Session<'_>) {
    import(it);
    it.tries(&[
        "containers",
        "create",
        "--label",
        "tier=front",
        "--env",
        "A=1",
        "--cwd",
        "/tmp",
        "--read-only",
        "--memory-limit",
        "33554432",
        IMAGE,
        "one",
        "sleep",
        "1000",
    ]);
    it.tries(&["containers", "info", "one"]);
    it.tries(&["containers", "info", "--spec", "one"]);
    it.tries(&["containers", "label", "one", "more=2", "tier="]);
    it.tries(&["containers", "ls", "labels.more==2"]);
    it.tries(&["containers", "ls", "id==one"]);
    it.tries(&["containers", "ls", "image==nothing"]);
    it.tries(&["containers", "ls", "runtime.name==io.containerd.runc.v2"]);
    it.tries(&["containers", "ls", "id=="]);
    it.tries(&["containers", "label", "absent", "a=1"]);
    it.tries(&["containers", "label", "one"]);
    it.tries(&["containers", "create"]);
    it.tries(&["containers", "create", "test.example/absent:1", "two"]);
    it.tries(&["tasks", "start", "-d", "one"]);
    it.tries(&["containers", "rm", "one"]);
    it.tries(&["tasks", "start", "-d", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "rm", "one"]);
    it.tries(&["containers", "rm", "one"]);
    it.tries(&["containers", "rm", "one", "two"]);
    it.tries(&["snapshots", "ls"]);
}
