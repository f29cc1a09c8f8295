//! Containers as records.

use stowd_testing::transcript::Session;

use crate::{IMAGE, import};

crate::scripts!(create_show_and_remove, info_tells_the_spec);

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
