//! A container's life, seen from outside.

mod support;

use serde_json::{Value, json};
use stowd_oci_runtime::{Delete, ErrorKind, Status};
use stowd_testing::need;

use support::{Bench, captured, end, read_all, reap};

#[test]
fn a_container_lives_and_leaves_nothing() {
    need!(root);
    let bench = Bench::new();
    let (stdio, output) = captured();
    let created = bench.create(&bench.spec("echo hello; exec sleep 600"), stdio).unwrap();
    let mut container = created.container;
    assert_eq!(container.status().unwrap(), Status::Created);
    assert_eq!(bench.runtime.list().unwrap(), std::slice::from_ref(&bench.id));
    let dir = bench.runtime.root().join(&bench.id);
    assert!(dir.join("exec.fifo").exists());
    let state: Value =
        serde_json::from_slice(&std::fs::read(dir.join("state.json")).unwrap()).unwrap();
    assert_eq!(state["id"], json!(bench.id));
    assert_eq!(state["init_process_pid"], json!(container.pid().as_raw_nonzero().get()));
    assert!(state["cgroup_paths"].as_object().is_some_and(|paths| !paths.is_empty()));
    assert!(state["namespace_paths"]["NEWNET"].as_str().unwrap().ends_with("/ns/net"));

    container.start().unwrap();
    let mut hello = [0; 6];
    rustix::io::read(&output, &mut hello).unwrap();
    assert_eq!(&hello, b"hello\n");
    assert_eq!(container.status().unwrap(), Status::Running);
    assert!(!dir.join("exec.fifo").exists());
    assert_eq!(container.state().unwrap().pid, container.pid().as_raw_nonzero().get());
    assert!(container.pids().unwrap().contains(&container.pid()));
    assert_eq!(container.start().unwrap_err().kind(), ErrorKind::FailedPrecondition);

    let loaded = bench.runtime.load(&bench.id).unwrap();
    assert_eq!(loaded.status().unwrap(), Status::Running);
    assert_eq!(loaded.bundle(), bench.bundle);
    assert_eq!(loaded.delete(Delete::Stopped).unwrap_err().kind(), ErrorKind::FailedPrecondition);

    container.kill(15).unwrap();
    container.kill(9).unwrap();
    assert_eq!(reap(container.pid()).terminating_signal(), Some(9));
    assert_eq!(container.status().unwrap(), Status::Stopped);
    assert_eq!(container.kill(9).unwrap_err().to_string(), "container not running");
    assert_eq!(container.state().unwrap().pid, 0);
    container.delete(Delete::Stopped).unwrap();
    assert!(!dir.exists());
    assert_eq!(bench.runtime.load(&bench.id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn another_process_may_start_it() {
    need!(root);
    let bench = Bench::new();
    let (stdio, output) = captured();
    let created = bench.create(&bench.spec("echo started"), stdio).unwrap();
    let mut other = bench.runtime.load(&bench.id).unwrap();
    assert_eq!(other.status().unwrap(), Status::Created);
    other.start().unwrap();
    assert_eq!(read_all(output), "started\n");
    reap(created.container.pid());
    other.delete(Delete::Stopped).unwrap();
}

#[test]
fn one_that_was_never_started_can_be_deleted() {
    need!(root);
    let bench = Bench::new();
    let (stdio, _output) = captured();
    let container = bench.create(&bench.spec("true"), stdio).unwrap().container;
    let pid = container.pid();
    let (stdio, _output) = captured();
    let again = bench.create(&bench.spec("true"), stdio).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    container.delete(Delete::Stopped).unwrap();
    assert_eq!(reap(pid).terminating_signal(), Some(9));
}

#[test]
fn failures_are_told_in_the_words_clients_know() {
    need!(root);
    let bench = Bench::new();
    let told = |args: Value| {
        let mut spec = bench.spec("");
        spec["process"]["args"] = args;
        bench.run(&spec).unwrap_err()
    };
    let error = told(json!(["no-such-program"]));
    let words = "unable to start container process: exec: \"no-such-program\": \
                 executable file not found in $PATH";
    assert_eq!(error.to_string(), words);
    assert!(error.is_program());
    let error = told(json!(["/no/such"]));
    assert!(
        error.to_string().ends_with("exec: \"/no/such\": stat /no/such: no such file or directory")
    );
    let error = told(json!(["/etc/passwd"]));
    assert!(error.to_string().ends_with("exec: \"/etc/passwd\": permission denied"));
    let error = told(json!(["/etc"]));
    assert!(error.to_string().ends_with("exec: \"/etc\": is a directory"));
    std::os::unix::fs::symlink("/proc/self/environ", bench.bundle.join("rootfs/tmp/x")).unwrap();
    std::fs::write(bench.bundle.join("rootfs/bin/odd"), "odd").unwrap();
    std::fs::set_permissions(
        bench.bundle.join("rootfs/bin/odd"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // Found only when it runs: told where its output goes, as runc has it.
    let mut spec = bench.spec("");
    spec["process"]["args"] = json!(["odd"]);
    let ended = bench.run(&spec).unwrap();
    assert_eq!(ended.status.exit_status(), Some(255));
    assert_eq!(ended.output, "exec /bin/odd: exec format error\n");
    let mut spec = bench.spec("true");
    spec["mounts"].as_array_mut().unwrap().push(json!(
        { "destination": "/data", "type": "bind", "source": "/no/such", "options": ["rbind"] }
    ));
    let error = bench.run(&spec).unwrap_err().to_string();
    assert!(error.contains("error mounting \"/no/such\" to rootfs at \"/data\""), "{error}");
    assert!(error.contains("no such file or directory"), "{error}");
    assert!(bench.runtime.list().unwrap().is_empty());
}

#[test]
fn pausing_and_limits() {
    need!(root, cgroup_v1);
    let bench = Bench::new();
    let mut container = bench.sleeper(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 50 });
    });
    let memory = container.cgroup().paths().get("memory").unwrap().join("memory.limit_in_bytes");
    assert_eq!(std::fs::read_to_string(&memory).unwrap().trim(), (64 << 20).to_string());
    container.pause().unwrap();
    assert_eq!(container.status().unwrap(), Status::Paused);
    let exec = support::exec(&container, |_| {}, "true").unwrap_err();
    assert_eq!(exec.kind(), ErrorKind::FailedPrecondition);
    container.resume().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    let limits = stowd_oci_runtime::spec::Resources::parse(br#"{"memory":{"limit":33554432}}"#);
    container.update(&limits.unwrap()).unwrap();
    assert_eq!(std::fs::read_to_string(&memory).unwrap().trim(), (32 << 20).to_string());
    container.pause().unwrap();
    end(container);
}
