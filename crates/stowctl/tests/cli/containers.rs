//! `containers` and `oci`.

use stowd_testing::need;

use crate::{FOREVER, IMAGE, It};

#[test]
fn records_read_as_ctrs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.as_ctr(&["containers", "ls"]);
    it.ctr(&["containers", "create", "--label", "a=1", "--env", "A=<b>", IMAGE, "one", "true"])
        .ok();
    it.ctr(&["containers", "create", "--privileged", "--net-host", IMAGE, "two"]).ok();
    assert!(it.as_ctr(&["c", "ls"]).contains("io.containerd.runc.v2"));
    it.as_ctr(&["c", "ls", "-q", "labels.a==1"]);
    for id in ["one", "two"] {
        it.as_ctr(&["c", "info", id]);
        it.as_ctr(&["c", "info", "--spec", id]);
    }
    assert_eq!(it.ctr(&["c", "label", "two", "b=2"]).ok().matches('=').count(), 2);
    it.fails_as_ctr(&["c", "info", "absent"]);
    it.fails_as_ctr(&["c", "create", IMAGE, "two"]);
    it.fails_as_ctr(&["c", "rm"]);
    it.fails_as_ctr(&["c", "rm", "absent"]);
    it.ctr(&["c", "rm", "one", "two"]).ok();
    it.nothing_is_left();
}

#[test]
fn containers_are_those_that_ctr_makes() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let ctr = |args: &[&str]| it.daemon.ctr(stowd_testing::Version::V2).args(args).ok();
    let flags: [&[&str]; 6] = [
        &[],
        &["--privileged", "--tty", "--env", "A=b"],
        &["--seccomp", "--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_KILL", "--allow-new-privs"],
        &["--read-only", "--cwd", "/tmp", "--user", "1:2", "--hostname", "box", "--net-host"],
        &["--memory-limit", "67108864", "--cpu-quota", "5000", "--cpu-period", "10000"],
        &[
            "--label",
            "x=y",
            "--annotation",
            "n=m",
            "--mount",
            "type=tmpfs,dst=/run",
            "--with-ns",
            "ipc:/proc/1/ns/ipc",
        ],
    ];
    for flags in flags {
        let spec = |ours: bool| {
            let mut args = vec!["containers", "create"];
            args.extend_from_slice(flags);
            args.extend_from_slice(&[IMAGE, "c", "echo", "x"]);
            if ours {
                it.ctr(&args).ok();
            } else {
                ctr(&args);
            }
            let info = ctr(&["containers", "info", "c"]);
            it.ctr(&["containers", "rm", "c"]).ok();
            let mut info: serde_json::Value = serde_json::from_str(&info).unwrap();
            // Ours follows a newer version of the runtime spec, and knows newer calls.
            info["Spec"]["ociVersion"] = "any".into();
            if let Some(seccomp) = info["Spec"]["linux"].get_mut("seccomp") {
                seccomp["syscalls"] = "any".into();
            }
            for time in ["CreatedAt", "UpdatedAt"] {
                info[time] = "any".into();
            }
            sort_arrays(&mut info);
            serde_json::to_string_pretty(&info).unwrap()
        };
        assert_eq!(spec(true), spec(false), "{flags:?}");
    }
}

/// Brings lists whose order says nothing into one: capabilities, calls.
fn sort_arrays(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(sort_arrays);
            items.sort_by_key(ToString::to_string);
        }
        serde_json::Value::Object(fields) => fields.values_mut().for_each(sort_arrays),
        _ => {}
    }
}

#[test]
fn running_containers_are_not_deleted() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("c", FOREVER);
    let said = it.ctr(&["c", "rm", "c"]).fails();
    assert!(said.contains("cannot delete a non stopped container") && said.contains("hint: "));
    it.stowctl(&["t", "kill", "-s", "9", "c"]).ok();
    it.until("c", "STOPPED");
    it.ctr(&["c", "rm", "c"]).ok();
    it.nothing_is_left();
}

#[test]
fn json_is_json() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    it.start("c", FOREVER);
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&it.stowctl(args).ok()).unwrap()
    };
    assert_eq!(json(&["--json", "c", "ls"])[0]["container"], "c");
    assert_eq!(json(&["t", "ls", "--json"])[0]["status"], "RUNNING");
    assert!(json(&["--json", "t", "ps", "c"])[0]["pid"].as_u64() > Some(0));
    assert_eq!(
        json(&["--json", "t", "metrics", "c"])["pids"]["current"].as_u64().map(|n| n > 0),
        Some(true)
    );
    assert_eq!(json(&["c", "info", "c"])["ID"], "c");
    assert_eq!(json(&["oci", "spec"])["root"]["path"], "rootfs");
    it.stowctl(&["t", "rm", "-f", "c"]).ok();
}
