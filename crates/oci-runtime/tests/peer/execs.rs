//! One more process in a container.

use serde_json::json;

use crate::case::compare;
use crate::peers::Runner;

#[test]
fn one_more_process() {
    compare(|case| case.exec = Some(case.spec["process"].clone()));
}

#[test]
fn one_with_everything_of_its_own() {
    compare(|case| {
        let mut process = case.spec["process"].clone();
        process["user"] = json!({ "uid": 1000, "gid": 5, "additionalGids": [7] });
        process["cwd"] = json!("/home/user");
        process["env"] = json!(["PATH=/bin", "A=1"]);
        process["capabilities"] = json!({
            "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
        });
        // Alike, as runc's Go would raise the lower one of open files to the higher.
        process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 128, "hard": 128 }]);
        process["noNewPrivileges"] = json!(false);
        case.exec = Some(process);
    });
}

#[test]
fn one_that_says_little_takes_the_containers() {
    compare(|case| {
        // A umask or score named for the process itself counts here; runc never looks at it.
        case.spec["process"]["oomScoreAdj"] = json!(400);
        case.spec["process"]["user"]["umask"] = json!(0o77);
        case.not(Runner::Runc1_1, "forgets the umask");
        case.spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]
        });
        case.exec =
            Some(json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"] }));
        case.more = "$b mkdir /tmp/x".into();
    });
}

#[test]
fn one_in_a_container_with_namespaces_of_all_kinds() {
    compare(|case| {
        case.namespace("cgroup");
        case.spec["hostname"] = json!("web");
        case.exec = Some(case.spec["process"].clone());
    });
}

#[test]
fn one_in_a_user_namespace() {
    compare(|case| {
        crate::namespaces::mapped(case);
        let mut process = case.spec["process"].clone();
        process["user"] = json!({ "uid": 1000, "gid": 1000 });
        case.exec = Some(process);
    });
}
