//! `shim`, beside the real ctr.

use stowd_testing::need;

use crate::{FOREVER, IMAGE, It};

#[test]
fn shims_answer_as_to_ctr() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("d", FOREVER);
    let tasks = it.daemon.state().join("io.containerd.runtime.v2.task");
    let bundle = tasks.join(it.daemon.namespace()).join("d");
    let address = std::fs::read_to_string(bundle.join("address")).unwrap();
    fn shim<'a>(address: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        [&["shim", "--shim-address", address], args].concat()
    }
    let state = it.as_ctr(&shim(&address, &["state", "-t", "d"]));
    assert!(state.contains("\"status\": 2"), "{state}");
    it.as_ctr(&shim(&address, &["state", "--task-id", "d", "--api-version", "2"]));
    for args in
        [&["state", "-t", "absent"][..], &["state"], &["start", "d"], &["delete", "d"], &["exec"]]
    {
        it.fails_as_ctr(&shim(&address, args));
    }
    it.fails_as_ctr(&["shim", "state"]);
    let said = it.ctr(&["shim", "--id", "absent", "state"]).fails();
    assert!(said.contains("fail to connect to container shim with sockets: [/run/containerd/s/"));
    it.ctr(&["shim", "--id", "d", "state", "--api-version", "4"]).fails();

    let spec = it.path("process.json");
    std::fs::write(
        &spec,
        r#"{"args":["sh","-c","read line; echo got $line $A in $PWD"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}"#,
    )
    .unwrap();
    let fifos: Vec<String> =
        ["in", "out", "err"].map(|name| it.path(name).to_string_lossy().into_owned()).to_vec();
    let exec = ["--id", "d", "exec", "--attach", "-e", "A=b", "--cwd", "/tmp"];
    let streams = ["--stdin", &fifos[0], "--stdout", &fifos[1], "--stderr", &fifos[2]];
    let rest = ["--spec", spec.to_str().unwrap(), "one"];
    let run = it.ctr(&shim(&address, &[&exec[..], &streams, &rest].concat())).input("it\n");
    let said = run.ok();
    assert!(said.starts_with("exec running with pid "), "{said}");
    assert!(said.ends_with("got it b in /tmp\n"), "{said}");
    it.ctr(&["tasks", "rm", "--exec-id", "one", "d"]).ok();

    // It has a container, so it stays.
    it.ctr(&shim(&address, &["shutdown"])).ok();
    it.ctr(&["t", "rm", "-f", "d"]).ok();
    assert!(it.ctr(&["run", "--rm", IMAGE, "e", "true"]).ok().is_empty());
}
