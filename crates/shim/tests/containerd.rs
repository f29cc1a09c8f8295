//! Unmodified containerd runs containers with this shim in its own shim's place.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod driver;

use driver::Place;
use stowd_testing::{Daemon, Version, need};

/// Which runtime `ctr` is told to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Linked,
    Runc,
}

fn check(version: Version, runtime: Runtime) {
    need!(root, clients);
    let place = Place::linked();
    let bundle = place.make("unused", &["true"], |_| {});
    let rootfs = bundle.join("rootfs").to_str().unwrap().to_owned();
    let daemon = Daemon::containerd(version, &place.scratch);
    // First in this containerd's PATH; it looks its shim up when the first task needs it.
    let bin = daemon.root().parent().unwrap().join("bin/containerd-shim-runc-v2");
    std::fs::copy(env!("CARGO_BIN_EXE_stowd-shim"), bin).unwrap();
    let runc = Version::V1_6.program("runc").to_str().unwrap().to_owned();
    let run = |flags: &[&str], id: &str, command: &[&str]| {
        let mut args = vec!["run"];
        if runtime == Runtime::Runc {
            args.extend(["--runc-binary", &runc]);
        }
        args.extend(flags);
        args.extend(["--rootfs", &rootfs, id]);
        args.extend(command);
        daemon.ctr(version).args(args)
    };
    let ctr = |args: &[&str]| daemon.ctr(version).args(args);

    let output =
        run(&["--rm"], "one", &["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]).output();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"out\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("err\n"), "{stderr}");

    run(&["-d"], "two", &["/bin/sleep", "1000"]).ok();
    assert!(ctr(&["task", "ls"]).ok().contains("RUNNING"));
    assert_eq!(ctr(&["task", "exec", "--exec-id", "e", "two", "/bin/echo", "in"]).ok(), "in\n");
    assert!(ctr(&["task", "metrics", "two"]).ok().contains("memory.usage_in_bytes"));
    ctr(&["task", "pause", "two"]).ok();
    assert!(ctr(&["task", "ls"]).ok().contains("PAUSED"));
    ctr(&["task", "resume", "two"]).ok();
    let bundle = daemon.state().join("io.containerd.runtime.v2.task");
    let bundle = bundle.join(daemon.namespace()).join("two");
    let pid = std::fs::read_to_string(bundle.join("shim.pid")).unwrap();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap();
    let program = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap();
    assert_eq!(name, "containerd-shim\n");
    assert!(program.ends_with(b"\0serve\0"), "this is another shim");
    ctr(&["task", "kill", "-s", "SIGKILL", "two"]).ok();
    assert!(stowd_testing::process::wait_for(|| ctr(&["task", "ls"]).ok().contains("STOPPED")));
    // The status is the container's.
    let removed = ctr(&["task", "rm", "two"]).output();
    assert!(matches!(removed.status.code(), Some(0 | 137)), "{removed:?}");
    ctr(&["container", "rm", "two"]).ok();

    // A shim that dies takes nothing with it that containerd would miss.
    run(&["-d"], "three", &["/bin/sleep", "1000"]).ok();
    let pid = std::fs::read_to_string(bundle.with_file_name("three").join("shim.pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(stowd_testing::process::wait_for(|| !ctr(&["task", "ls"]).ok().contains("three")));
    ctr(&["container", "rm", "three"]).ok();
}

#[test]
fn containerd_1_6_with_the_linked_runtime() {
    check(Version::V1_6, Runtime::Linked);
}

#[test]
fn containerd_1_6_with_runc() {
    check(Version::V1_6, Runtime::Runc);
}

#[test]
fn containerd_2_with_the_linked_runtime() {
    check(Version::V2, Runtime::Linked);
}

#[test]
fn containerd_2_with_runc() {
    check(Version::V2, Runtime::Runc);
}
