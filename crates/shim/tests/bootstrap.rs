//! `start` and `delete`, as containerd runs them.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod driver;

use std::path::Path;
use std::process::{Command, Stdio};

use driver::{Client, Place};
use rustix::process::{Pid, Signal, kill_process};
use stowd_api::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};
use stowd_api::task::v3::{ConnectRequest, ConnectResponse, DeleteResponse, ShutdownRequest};
use stowd_api::types::RuntimeInfo;
use stowd_api::{Any, Message};
use stowd_testing::need;

const NONE: [&str; 3] = ["", "", ""];

/// Runs the shim's program in a bundle, and returns what it printed.
fn run(place: &Place, id: &str, action: &str, input: &[u8], env: &[(&str, &str)]) -> Vec<u8> {
    let address = place.scratch.join("c.sock");
    let file = place.scratch.join("input");
    std::fs::write(&file, input).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stowd-shim"))
        .args(["-namespace", &place.namespace, "-address", address.to_str().unwrap()])
        .args(["-publish-binary", "/bin/true", "-id", id])
        .arg(action)
        .envs(env.iter().copied())
        .stdin(std::fs::File::open(file).unwrap())
        .stderr(Stdio::inherit())
        .current_dir(place.bundle(id))
        .output()
        .unwrap();
    assert!(output.status.success(), "{action} of {id} failed");
    output.stdout
}

fn parameters(place: &Place, id: &str) -> Vec<u8> {
    let params = BootstrapParams {
        instance_id: id.into(),
        namespace: place.namespace.clone(),
        containerd_grpc_address: place.scratch.join("c.sock").to_str().unwrap().into(),
        containerd_ttrpc_address: place.events_socket().to_str().unwrap().into(),
        socket_dir: Some(place.scratch.join("s").to_str().unwrap().into()),
        ..Default::default()
    };
    params.encode_to_vec()
}

#[test]
fn a_pods_containers_find_the_same_shim() {
    need!(root, clients);
    let place = Place::runc();
    let group = |spec: &mut serde_json::Value| {
        spec["annotations"]["io.kubernetes.cri.sandbox-id"] = "pod".into();
    };
    for id in ["pod", "web"] {
        place.make(id, &["sleep", "1000"], group);
    }
    place.events.serve(&place.events_socket());
    let first = run(&place, "pod", "start", &parameters(&place, "pod"), &[]);
    let first = BootstrapResult::decode(&*first).unwrap();
    assert_eq!((first.version, &*first.protocol), (3, "ttrpc"));
    // Daemons before 2.3 send no parameters but the place is not the usual one.
    let second = run(&place, "web", "start", &parameters(&place, "web"), &[]);
    let second = BootstrapResult::decode(&*second).unwrap();
    assert_eq!(first.address, second.address);
    assert_eq!(
        std::fs::read_to_string(place.bundle("web").join("address")).unwrap(),
        first.address
    );
    let socket = first.address.strip_prefix("unix://").unwrap();
    let mut client = Client::connect(Path::new(socket));
    for id in ["pod", "web"] {
        client.create(&place, id, NONE).unwrap();
        client.start(id, "").unwrap();
    }
    for id in ["pod", "web"] {
        client.kill(id, "", 9).unwrap();
        client.wait(id, "").unwrap();
        client.delete(id, "").unwrap();
    }
    place.events.wait(8);
    let _: () = client.call("Shutdown", &ShutdownRequest::default()).unwrap();
    assert!(stowd_testing::process::wait_for(|| !Path::new(socket).exists()));
}

#[test]
fn delete_clears_away_what_a_dead_shim_left() {
    need!(root, clients);
    let place = Place::runc();
    let bundle = place.make("web", &["sleep", "1000"], |_| {});
    let result = run(&place, "web", "start", &parameters(&place, "web"), &[]);
    let address = BootstrapResult::decode(&*result).unwrap().address;
    let socket = Path::new(address.strip_prefix("unix://").unwrap());
    let mut client = Client::connect(socket);
    let pid = client.create(&place, "web", NONE).unwrap();
    client.start("web", "").unwrap();
    let request = ConnectRequest { id: "web".into() };
    let connected: ConnectResponse = client.call("Connect", &request).unwrap();
    kill_process(Pid::from_raw(connected.shim_pid as i32).unwrap(), Signal::KILL).unwrap();
    let deleted = run(&place, "web", "delete", &[], &[]);
    let deleted = DeleteResponse::decode(&*deleted).unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    assert!(deleted.exited_at.is_some());
    assert!(!socket.exists());
    assert!(stowd_testing::process::wait_for(|| !Path::new(&format!("/proc/{pid}")).exists()));
    drop(bundle);
}

#[test]
fn daemons_of_each_age_get_the_answer_they_read() {
    need!(root, clients);
    for (newest, start) in [
        (None, "unix:///run/containerd/s/"),
        (Some("2"), r#"{"version":2,"address":"unix:///run/containerd/s/"#),
        (Some("3"), r#"{"version":3,"address":"unix:///run/containerd/s/"#),
    ] {
        let place = Place::linked();
        place.make("web", &["true"], |_| {});
        let env = newest.map(|newest| ("MAX_SHIM_VERSION", newest));
        let printed = run(&place, "web", "start", &[], env.as_slice());
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.starts_with(start), "{printed}");
        let address = std::fs::read_to_string(place.bundle("web").join("address")).unwrap();
        let mut client = Client::connect(Path::new(address.strip_prefix("unix://").unwrap()));
        let _: () = client.call("Shutdown", &ShutdownRequest::default()).unwrap();
        let socket = Path::new(address.strip_prefix("unix://").unwrap());
        assert!(stowd_testing::process::wait_for(|| !socket.exists()));
    }
}

#[test]
fn says_what_it_is() {
    let program = env!("CARGO_BIN_EXE_stowd-shim");
    let version = Command::new(program).arg("-v").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("stowd-shim:\n  Version: "));
    let info = Command::new(program).arg("-info").stdin(Stdio::null()).output().unwrap();
    let info = RuntimeInfo::decode(&*info.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.runc.v2");
    let Any { value, .. } = info.features.unwrap();
    let features: serde_json::Value = serde_json::from_slice(&value).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(info.options, None);
}
