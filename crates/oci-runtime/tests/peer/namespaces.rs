//! Namespaces: new, shared with the host, joined.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::case::{Case, compare};
use crate::peers::Runner;

fn only(case: &mut Case<'_>, kinds: &[&str]) {
    let list: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    case.spec["linux"]["namespaces"] = json!(list);
}

#[test]
fn names_in_a_namespace_of_their_own() {
    compare(|case| {
        case.spec["hostname"] = json!("web");
        case.spec["domainname"] = json!("example.org");
        case.not(Runner::Runc1_1, "knows of no domain name");
    });
}

#[test]
fn the_hosts_network_and_processes() {
    compare(|case| {
        only(case, &["mount", "ipc", "uts"]);
        // Ids of processes are the machine's, and so other ones each time.
        case.more = "$b test $$ -gt 1 && echo not the first".into();
    });
}

#[test]
fn the_hosts_names_and_queues() {
    compare(|case| only(case, &["mount", "pid", "network"]));
}

#[test]
fn a_cgroup_namespace() {
    compare(|case| case.namespace("cgroup"));
}

#[test]
fn a_time_namespace() {
    compare(|case| {
        case.namespace("time");
        case.spec["linux"]["timeOffsets"] = json!({
            "boottime": { "secs": 1_000_000, "nanosecs": 5 }, "monotonic": { "secs": 7 }
        });
        case.more = "$b test $($b cut -d. -f1 /proc/uptime) -gt 1000000 && echo late; \
                     $b cat /proc/self/timens_offsets"
            .into();
        case.not(Runner::Runc1_1, "knows of none");
    });
}

/// Lets a user namespace's root in where the test's own folders are closed to it.
pub(crate) fn mapped(case: &mut Case<'_>) {
    case.namespace("user");
    for field in ["uidMappings", "gidMappings"] {
        case.spec["linux"][field] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 1000, "hostID": 200_000, "size": 5000 }
        ]);
    }
    open_to_mapped(&case.rootfs);
}

fn open_to_mapped(root: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut folder = root;
    while let Some(parent) = folder.parent().filter(|parent| *parent != std::env::temp_dir()) {
        std::fs::set_permissions(parent, PermissionsExt::from_mode(0o755)).unwrap();
        folder = parent;
    }
    for entry in ["", "dev", "proc", "sys", "tmp", "etc", "bin", "bin/busybox", "home/user"] {
        std::os::unix::fs::chown(root.join(entry), Some(100_000), Some(100_000)).unwrap();
    }
}

#[test]
fn a_user_namespace() {
    compare(|case| {
        mapped(case);
        case.more = "$b cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups | $b tr -s ' '; \
                     $b touch /tmp/mine; $b stat -c '%u %g' /tmp/mine; $b mknod /tmp/x c 1 3; \
                     $b hostname inside; : > /dev/null && echo null; $b head -c1 /dev/zero | $b wc -c"
            .into();
    });
}

#[test]
fn a_user_namespace_with_a_user_and_binds() {
    compare(|case| {
        mapped(case);
        case.spec["process"]["user"] =
            json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 1001] });
        let data = case.data.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("file"), "host\n").unwrap();
        std::os::unix::fs::chown(data.join("file"), Some(201_000), Some(5)).unwrap();
        let data = crate::case::text(&data);
        case.mount("bind", &data, "/m", &["rbind", "ro"]);
        case.mount("bind", &data, "/n", &["bind", "nosuid", "noexec"]);
        case.more = "$b stat -c '%n %u %g' /m /m/*; $b cat /m/file".into();
    });
}

/// A process with namespaces to join.
struct Host(Child);

impl Host {
    fn new(flags: &str) -> Host {
        let child = Command::new("unshare")
            .args([flags, "sh", "-c", "hostname joined; echo; exec sleep 100"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut newline = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut newline).unwrap();
        Host(child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn namespaces_joined_by_path() {
    let host = Host::new("-uin");
    compare(|case| {
        let path = |kind: &str| format!("/proc/{}/ns/{kind}", host.0.id());
        case.spec["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "pid" }, { "type": "uts", "path": path("uts") },
            { "type": "ipc", "path": path("ipc") }, { "type": "network", "path": path("net") }
        ]);
        let net = std::fs::read_link(path("net")).unwrap();
        case.more =
            format!("$b test $($b readlink /proc/self/ns/net) = '{}' && echo it", net.display());
    });
}

#[test]
fn kernel_parameters() {
    compare(|case| {
        case.spec["linux"]["sysctl"] = json!({
            "net.ipv4.ip_unprivileged_port_start": "42", "kernel.msgmax": "4096",
            "net/ipv4/ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "20",
            "net.ipv4.ping_group_range": "0 2147483647"
        });
        case.more = "$b cat /proc/sys/kernel/shm_rmid_forced".into();
    });
}

#[test]
fn sysfs_with_the_hosts_network() {
    compare(|case| only(case, &["mount", "pid", "ipc", "uts"]));
}

#[test]
fn a_joined_pid_namespace() {
    let host = Pause::new();
    compare(|case| {
        case.spec["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "network" },
            { "type": "pid", "path": format!("/proc/{}/ns/pid_for_children", host.0.id()) }
        ]);
        case.more = "$b cat /proc/1/comm".into();
    });
}

/// A process whose children's pid namespace has a first process.
struct Pause(Child);

impl Pause {
    fn new() -> Pause {
        let child = Command::new("unshare")
            .args(["-p", "--fork", "--kill-child", "sh", "-c", "echo; exec sleep 100"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut newline = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut newline).unwrap();
        Pause(child)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_joined_user_namespace() {
    let bench = crate::support::Bench::new();
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    let host = bench.sleeper(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps.clone();
        let root = &bench.bundle.join("rootfs");
        open_to_mapped(root);
    });
    compare(|case| {
        mapped(case);
        case.spec["linux"]["uidMappings"] = maps.clone();
        case.spec["linux"]["gidMappings"] = maps.clone();
        let last = case.spec["linux"]["namespaces"].as_array_mut().unwrap().last_mut().unwrap();
        last["path"] = json!(format!("/proc/{}/ns/user", host.pid()));
        case.spec["hostname"] = json!("mine");
        case.more =
            "$b touch /tmp/mine; $b stat -c '%u %g' /tmp/mine; $b hostname x && echo named".into();
    });
    crate::support::end(host);
}
