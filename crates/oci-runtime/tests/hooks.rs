//! Hooks, and namespaces that are joined.

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use stowd_oci_runtime::{Delete, Error};
use stowd_testing::need;

use support::{Bench, captured, end, read_all, reap};

#[test]
fn hooks_run_when_and_where_they_should() {
    need!(root);
    let bench = Bench::new();
    let log = bench.scratch.join("log");
    let host = |name: &str| {
        let script = format!(
            "echo {name} $(hostname) $(grep -o '\"status\":\"[a-z]*\"') $X >> {}",
            log.display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["X=1", "PATH=/bin:/usr/bin"] }])
    };
    let mut spec = bench.spec("cat /tmp/log; exec sleep 600");
    spec["hostname"] = json!("inside");
    let inside = "echo startContainer $$ $(hostname) $(grep -o '\"status\":\"[a-z]*\"') > /tmp/log; \
                  grep CapEff /proc/self/status >> /tmp/log";
    spec["hooks"] = json!({
        "prestart": host("prestart"), "createRuntime": host("createRuntime"),
        "createContainer": host("createContainer"), "poststart": host("poststart"),
        "poststop": host("poststop"),
        "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", inside], "env": ["PATH=/bin"] }]
    });
    let (stdio, output) = captured();
    let mut container = bench.create(&spec, stdio).unwrap().container;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = own.trim();
    let said = || std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        said(),
        format!(
            "prestart {own} \"status\":\"creating\" 1\n\
             createRuntime {own} \"status\":\"creating\" 1\n\
             createContainer inside \"status\":\"creating\" 1\n"
        )
    );
    assert_eq!(container.start().unwrap(), Vec::<String>::new());
    assert!(said().ends_with(&format!("poststart {own} \"status\":\"running\" 1\n")));
    container.kill(9).unwrap();
    reap(container.pid());
    let text = read_all(output);
    assert!(text.starts_with("startContainer "), "{text}");
    assert!(text.contains(" inside \"status\":\"created\"\nCapEff:\t00000000a80425fb\n"), "{text}");
    container.delete(Delete::Stopped).unwrap();
    assert!(said().ends_with(&format!("poststop {own} \"status\":\"stopped\" 1\n")));
}

#[test]
fn a_failing_or_endless_hook_fails_the_creation() {
    need!(root);
    let bench = Bench::new();
    let told = |hook: Value| {
        let mut spec = bench.spec("true");
        spec["hooks"] = json!({ "createRuntime": [hook] });
        match bench.run(&spec).unwrap_err() {
            Error::Hook { point: "createRuntime", index: 0, reason } => reason,
            other => panic!("{other}"),
        }
    };
    let reason = told(json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 4"] }));
    assert_eq!(reason, "exit status 4, stdout: , stderr: no\n");
    let reason = told(json!({ "path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1 }));
    assert_eq!(reason, "hook ran past specified timeout of 1.0s");
    assert!(bench.runtime.list().unwrap().is_empty());
}

#[test]
fn namespaces_are_joined_by_path() {
    need!(root);
    let pod = Bench::new();
    let sandbox = pod.sleeper(|spec| spec["hostname"] = json!("pod"));
    let bench = Bench::new();
    let mut spec = bench.spec("hostname; cat /proc/1/comm; readlink /proc/self/ns/net");
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", sandbox.pid());
    spec["linux"]["namespaces"] = json!([
        { "type": "mount" }, { "type": "pid", "path": path("pid") },
        { "type": "ipc", "path": path("ipc") }, { "type": "uts", "path": path("uts") },
        { "type": "network", "path": path("net") }
    ]);
    let net = std::fs::read_link(path("net")).unwrap();
    assert_eq!(bench.prints(&spec), format!("pod\nsleep\n{}\n", net.display()));
    end(sandbox);
}

#[test]
fn new_namespaces_belong_to_a_joined_user_namespace() {
    need!(root);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let user = |bench: &Bench, spec: &mut Value, namespace: Value| {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bench.scratch.path(), mode).unwrap();
        for entry in ["", "dev", "bin/busybox"] {
            let path = bench.bundle.join("rootfs").join(entry);
            std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
        }
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(namespace);
        for field in ["uidMappings", "gidMappings"] {
            spec["linux"][field] = map.clone();
        }
    };
    let pod = Bench::new();
    let sandbox = pod.sleeper(|spec| user(&pod, spec, json!({ "type": "user" })));
    let bench = Bench::new();
    let mut spec =
        bench.spec("id -u; echo $$; cat /proc/self/uid_map | tr -s ' '; hostname mine; hostname");
    let path = format!("/proc/{}/ns/user", sandbox.pid());
    user(&bench, &mut spec, json!({ "type": "user", "path": path }));
    for set in ["bounding", "effective", "permitted"] {
        spec["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
    assert_eq!(bench.prints(&spec), "0\n1\n 0 100000 65536\nmine\n");
    let ended = support::exec(&sandbox, |_| {}, "id -u; cat /proc/1/comm").unwrap();
    assert_eq!(ended.output, "0\nsleep\n");
    end(sandbox);
}

#[test]
fn clocks_are_offset_in_a_time_namespace() {
    need!(root);
    let bench = Bench::new();
    let mut spec = bench.spec("cut -d. -f1 /proc/uptime");
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
    spec["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000 } });
    let uptime: u64 = bench.prints(&spec).trim().parse().unwrap();
    assert!(uptime > 1_000_000, "{uptime}");
}
