//! What else the program does: publish, hooks, its version.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Scratch, Version, daemon, need};

fn stowd(args: &[&str]) -> Run {
    Run::program(daemon::programs().join("stowd")).args(args)
}

#[test]
fn the_version_has_four_words() {
    need!(stowd);
    for flag in ["--version", "-v"] {
        let said = stowd(&[flag]).ok();
        let words: Vec<_> = said.trim_end_matches('\n').split(' ').collect();
        assert_eq!((words[0], words.len()), ("containerd", 4), "{said}");
        assert!(words[2].starts_with("v2."), "{said}");
    }
}

#[test]
fn an_event_is_published() {
    need!(root, clients, stowd);
    let scratch = Scratch::new();
    let daemon = Daemon::stowd(&scratch);
    let socket = daemon.socket();
    let mut events = std::process::Command::new(Version::V2.program("ctr"))
        .args(["-a", socket.to_str().unwrap(), "-n", daemon.namespace(), "events"])
        .stdout(fs::File::create(scratch.join("events")).unwrap())
        .spawn()
        .unwrap();
    // containerd.events.TaskOOM with the container's id.
    let mut any = vec![0x0a, 25];
    any.extend(b"containerd.events.TaskOOM");
    any.extend([0x12, 5, 0x0a, 3]);
    any.extend(b"oom");
    let address = ["--address", socket.to_str().unwrap()];
    let publish = |topic: &str| {
        let args = ["publish", "--namespace", daemon.namespace(), "--topic", topic];
        stowd(&[&address[..], &args].concat()).input(any.clone())
    };
    // The subscription may take a moment.
    let seen = wait_for(|| {
        publish("/tasks/oom").ok();
        fs::read_to_string(scratch.join("events"))
            .is_ok_and(|text| text.contains(r#"/tasks/oom {"container_id":"oom"}"#))
    });
    events.kill().unwrap();
    events.wait().unwrap();
    assert!(seen, "{}", fs::read_to_string(scratch.join("events")).unwrap());
    assert!(publish("").fails().contains("topic required"));
}

#[test]
fn a_hook_gets_what_is_known() {
    need!(stowd);
    let scratch = Scratch::new();
    fs::write(scratch.join("config.json"), r#"{"root": {"path": "rootfs"}}"#).unwrap();
    let script = scratch.join("hook");
    fs::write(&script, "#!/bin/sh\necho \"$@\" \"$ASKED\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = scratch.path().to_str().unwrap();
    let state = format!(r#"{{"id":"c","pid":7,"bundle":"{bundle}","annotations":{{"a":"b"}}}}"#);
    let mut hook = std::process::Command::new(daemon::programs().join("stowd"));
    hook.env("ASKED", "{{status}}!").args(["oci-hook", script.to_str().unwrap()]);
    hook.args(["{{id}}", "{{pid}}", "{{rootfs}}", "--x={{annotation \"a\"}}"]);
    let said = Run::new(hook).input(state).ok();
    assert_eq!(said, format!("c 7 {bundle}/rootfs --x=b !\n"));
}
