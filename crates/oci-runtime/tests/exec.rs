//! More processes in a running container, and terminals.

mod support;

use std::io::Write;

use serde_json::json;
use stowd_oci_runtime::{ExecOptions, Stdio, spec};
use stowd_testing::need;

use support::{Bench, captured, end, exec, read_all, reap};

#[test]
fn a_process_joins_what_the_container_is() {
    need!(root);
    let bench = Bench::new();
    let container = bench.sleeper(|spec| {
        spec["hostname"] = json!("web");
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]
        });
    });
    let script = "hostname; readlink /proc/self/ns/net; readlink /proc/1/ns/net; cat /proc/1/comm; \
                  grep -E '^(CapEff|Seccomp:|NoNewPrivs)' /proc/self/status; \
                  grep -c oci- /proc/self/cgroup; ls /proc/self/fd | tr '\\n' ' '; exit 3";
    let ended = exec(&container, |_| {}, script).unwrap();
    assert_eq!(ended.status.exit_status(), Some(3), "{}", ended.output);
    let lines: Vec<&str> = ended.output.lines().collect();
    assert_eq!(lines[0], "web");
    assert_eq!(lines[1], lines[2]);
    assert_eq!(lines[3], "sleep");
    assert_eq!(lines[4..7], ["CapEff:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2"]);
    assert_ne!(lines[7], "0");
    assert_eq!(lines[8], "0 1 2 3 ");
    end(container);
}

#[test]
fn it_runs_as_whom_and_where_it_says() {
    need!(root);
    let bench = Bench::new();
    let container = bench.sleeper(|_| {});
    let user = |process: &mut serde_json::Value| {
        process["user"] = json!({ "uid": 1000, "gid": 1000 });
        process["cwd"] = json!("/tmp");
        process["capabilities"] = json!({});
    };
    let ended = exec(&container, user, "id -u; pwd; echo $HOME; grep CapEff /proc/self/status");
    assert_eq!(ended.unwrap().output, "1000\n/tmp\n/home/user\nCapEff:\t0000000000000000\n");
    let loaded = bench.runtime.load(&bench.id).unwrap();
    let ended = exec(&loaded, |_| {}, "echo from another").unwrap();
    assert_eq!(ended.output, "from another\n");
    let nothing = |process: &mut serde_json::Value| process["args"] = json!(["nothing"]);
    let error = exec(&container, nothing, "").unwrap_err();
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    end(container);
    let bad = loaded.status().unwrap();
    assert_eq!(bad, stowd_oci_runtime::Status::Stopped);
}

#[test]
fn terminals_are_the_containers_own() {
    need!(root);
    let bench = Bench::new();
    let mut spec = bench.spec("tty; stty size; ls -l /dev/console | cut -c1; exec cat");
    spec["process"]["terminal"] = json!(true);
    spec["process"]["consoleSize"] = json!({ "height": 40, "width": 100 });
    let mut created = bench.create(&spec, Stdio::Terminal).unwrap();
    let console = created.console.take().expect("a console");
    created.container.start().unwrap();
    let mut master = std::fs::File::from(console.try_clone().unwrap());

    let process = json!({ "args": ["sh", "-c", "tty; stty size"], "cwd": "/", "terminal": true,
                          "consoleSize": { "height": 2, "width": 3 },
                          "env": ["PATH=/bin"] });
    let process = spec::Process::parse(process.to_string().as_bytes()).unwrap();
    let mut options = ExecOptions::new(process);
    options.stdio = Stdio::Terminal;
    let second = created.container.exec(options).unwrap();
    reap(second.pid);
    let text = read_all(second.console.expect("a console"));
    assert_eq!(text, "/dev/pts/1\r\n2 3\r\n");

    master.write_all(b"echoed\n\x04").unwrap();
    let text = read_all(&console);
    reap(created.container.pid());
    created.container.delete(stowd_oci_runtime::Delete::Stopped).unwrap();
    for expected in ["/dev/pts/0\r\n", "40 100\r\n", "\r\nc\r\n"] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(text.matches("echoed").count() == 2, "{text}");
}

#[test]
fn extra_descriptors_come_after_the_streams() {
    need!(root);
    let bench = Bench::new();
    let container = bench.sleeper(|_| {});
    let (stdio, output) = captured();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let process =
        json!({ "args": ["sh", "-c", "echo extra >&3"], "cwd": "/", "env": ["PATH=/bin"] });
    let mut options =
        ExecOptions::new(spec::Process::parse(process.to_string().as_bytes()).unwrap());
    options.stdio = stdio;
    options.extra_fds = vec![write];
    let process = container.exec(options).unwrap();
    assert_eq!(reap(process.pid).exit_status(), Some(0), "{}", read_all(output));
    assert_eq!(read_all(read), "extra\n");
    end(container);
}
