//! What a container's program sees.

mod support;

use serde_json::{Value, json};
use stowd_testing::need;

use support::Bench;

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().into_iter().for_each(|list| list.push(item.clone()));
}

#[test]
fn a_default_container_is_confined() {
    need!(root);
    let bench = Bench::new();
    let text = bench.prints(&bench.spec(
        "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status; echo pid=$$; umask; pwd; \
         echo home=$HOME; ulimit -n; ls /proc/self/fd | tr '\\n' ' '; echo; \
         echo x 2>&1 > /proc/sys/kernel/domainname; cat /proc/keys | wc -c; \
         ls -A /sys/firmware | wc -l; cat /proc/1/cgroup | grep -c oci-; ls /dev | sort | tr '\\n' ' '",
    ));
    for expected in [
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n",
        "Groups:\t0 10",
        "pid=1\n0022\n/\nhome=/root\n1024\n0 1 2 3",
        "can't create /proc/sys/kernel/domainname: Read-only file system\n0\n0\n",
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
    ] {
        assert!(text.contains(expected), "{expected:?} not in {text}");
    }
}

#[test]
fn mounts_are_those_of_the_specification() {
    need!(root);
    let bench = Bench::new();
    let text = bench.prints(&bench.spec("cat /proc/self/mountinfo | cut -d' ' -f5,6"));
    let lines: Vec<&str> = text.lines().collect();
    for expected in [
        "/proc rw,nosuid,nodev,noexec,relatime",
        "/dev rw,nosuid",
        "/dev/pts rw,nosuid,noexec,relatime",
        "/dev/shm rw,nosuid,nodev,noexec,relatime",
        "/dev/mqueue rw,nosuid,nodev,noexec,relatime",
        "/sys ro,nosuid,nodev,noexec,relatime",
        "/run rw,nosuid",
        "/proc/sys ro,nosuid,nodev,noexec,relatime",
        "/proc/timer_list rw,nosuid",
        "/sys/firmware ro,relatime",
    ] {
        assert!(lines.contains(&expected), "{expected:?} not in {text}");
    }
    assert!(lines[0].starts_with("/ rw"), "{text}");
}

#[test]
fn binds_read_only_roots_and_copied_tmpfs_modes() {
    need!(root);
    let bench = Bench::new();
    let data = bench.scratch.folder("data");
    std::fs::write(data.join("file"), "from the host\n").unwrap();
    let mut spec = bench.spec(
        "cat /a/b/c/file; touch /a/b/c/x; touch /y; cat /etc/one; stat -c %a /tmp; cat /sneaky/file",
    );
    spec["root"]["readonly"] = json!(true);
    let source = data.to_str().unwrap();
    let mounts = &mut spec["mounts"];
    push(mounts, json!({ "destination": "/a/b/c", "source": source, "options": ["rbind", "ro"] }));
    let file = data.join("file");
    push(mounts, json!({ "destination": "/etc/one", "source": file, "options": ["bind"] }));
    push(mounts, json!({ "destination": "/tmp", "type": "tmpfs", "source": "t", "options": [] }));
    // A link that would lead out stays inside.
    std::os::unix::fs::symlink("../../../../outside", bench.bundle.join("rootfs/sneaky")).unwrap();
    push(mounts, json!({ "destination": "/sneaky", "source": source, "options": ["bind"] }));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1755);
    std::fs::set_permissions(bench.bundle.join("rootfs/tmp"), mode).unwrap();
    let text = bench.prints(&spec);
    assert_eq!(text.matches("from the host\n").count(), 3, "{text}");
    assert!(text.contains("touch: /a/b/c/x: Read-only file system"), "{text}");
    assert!(text.contains("touch: /y: Read-only file system"), "{text}");
    assert!(text.contains("\n1755\n"), "{text}");
    assert!(bench.bundle.join("rootfs/outside").is_dir());
}

#[test]
fn users_names_and_ambient_capabilities() {
    need!(root);
    let bench = Bench::new();
    let mut spec = bench.spec(
        "id; hostname; cat /proc/sys/kernel/domainname; umask; echo $HOME; pwd; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep CapAmb /proc/self/status; \
         cat /proc/self/oom_score_adj; echo again > /dev/stdout",
    );
    spec["hostname"] = json!("web");
    spec["domainname"] = json!("example");
    spec["process"]["cwd"] = json!("/made/up");
    spec["process"]["oomScoreAdj"] = json!(500);
    spec["process"]["user"] =
        json!({ "uid": 1000, "gid": 1000, "umask": 0o77, "additionalGids": [4] });
    spec["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"],
        "inheritable": ["CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"], "effective": ["CAP_NET_RAW"]
    });
    spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "42" });
    assert_eq!(
        bench.prints(&spec),
        "uid=1000(user) gid=1000(user) groups=4\nweb\nexample\n0077\n/home/user\n/made/up\n42\n\
         CapAmb:\t0000000000002000\n500\nagain\n"
    );
}

#[test]
fn devices_are_limited_to_those_allowed() {
    need!(root, cgroup_v1);
    let bench = Bench::new();
    let mut spec = bench.spec(
        "ls -l /dev/fuse2 | cut -c1-10; head -c1 /dev/fuse2 2>&1; head -c 4 /dev/zero | wc -c; \
         dd if=/dev/zero of=/dev/full bs=1 count=1 2>&1 | head -1",
    );
    spec["linux"]["devices"] = json!([
        { "path": "/dev/fuse2", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640 }
    ]);
    let text = bench.prints(&spec);
    assert!(text.starts_with("crw-r-----\n"), "{text}");
    assert!(text.contains("/dev/fuse2: Operation not permitted"), "{text}");
    assert!(text.contains("\n4\n"), "{text}");
}

#[test]
fn cgroup_trees_are_shown_in_a_cgroup_namespace() {
    need!(root, cgroup_v1);
    let bench = Bench::new();
    let mut spec = bench.spec(
        "cat /proc/self/cgroup | cut -d: -f3 | sort | tr '\\n' ' '; ls /sys/fs/cgroup | tr '\\n' ' '; \
         cat /sys/fs/cgroup/pids/cgroup.procs | head -1; touch /sys/fs/cgroup/x; true",
    );
    push(&mut spec["linux"]["namespaces"], json!({ "type": "cgroup" }));
    push(
        &mut spec["mounts"],
        json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["ro", "nosuid", "noexec", "nodev"] }),
    );
    let text = bench.prints(&spec);
    assert!(text.contains("memory") && text.contains("pids"), "{text}");
    assert!(text.contains("\n1\n") || text.contains(" 1\n"), "{text}");
    assert!(!text.contains("oci-"), "{text}");
    assert!(text.contains("touch: /sys/fs/cgroup/x: Read-only file system"), "{text}");
}

#[test]
fn seccomp_filters_with_and_without_new_privileges() {
    need!(root);
    let bench = Bench::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO",
              "errnoRet": 28 },
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO",
              "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] }
        ]
    });
    for no_new_privileges in [true, false] {
        let mut spec = bench.spec(
            "grep Seccomp: /proc/self/status; mkdir /x 2>&1; kill -10 $$ 2>&1; kill -0 $$ && echo ok",
        );
        spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        spec["linux"]["seccomp"] = profile.clone();
        let text = bench.prints(&spec);
        assert!(text.starts_with("Seccomp:\t2\n"), "{text}");
        assert!(text.contains("No space left on device"), "{text}");
        assert!(text.contains("not permitted") && text.ends_with("ok\n"), "{text}");
    }
}

#[test]
fn user_namespaces_map_ids() {
    need!(root);
    let bench = Bench::new();
    let root = bench.bundle.join("rootfs");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bench.scratch.path(), mode).unwrap();
    let mut spec = bench.spec(
        "id -u; cat /proc/self/uid_map | tr -s ' '; ls -ln /bin/busybox | tr -s ' ' | \
                    cut -d' ' -f3; touch /dev/shm/mine; stat -c %u /dev/shm/mine; \
                    head -c2 /dev/zero | wc -c; hostname inside; hostname",
    );
    push(&mut spec["linux"]["namespaces"], json!({ "type": "user" }));
    for map in ["uidMappings", "gidMappings"] {
        spec["linux"][map] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    }
    for entry in ["", "dev", "bin/busybox"] {
        std::os::unix::fs::chown(root.join(entry), Some(100_000), Some(100_000)).unwrap();
    }
    spec["process"]["capabilities"]["effective"] = json!(["CAP_SYS_ADMIN", "CAP_CHOWN"]);
    spec["process"]["capabilities"]["permitted"] = json!(["CAP_SYS_ADMIN", "CAP_CHOWN"]);
    spec["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN", "CAP_CHOWN"]);
    let text = bench.prints(&spec);
    assert_eq!(text, "0\n 0 100000 65536\n0\n0\n2\ninside\n");
}

#[test]
fn containerds_own_specification_and_filter_work() {
    need!(root);
    let bench = Bench::new();
    let mut spec = stowd_spec::Spec::linux_default("t", &bench.id);
    spec.set_default_seccomp();
    let mut spec = serde_json::to_value(&spec).unwrap();
    spec["linux"]["cgroupsPath"] = json!(format!("/{}", bench.id));
    spec["process"]["env"] = json!(["PATH=/bin"]);
    spec["process"]["args"] = json!([
        "sh",
        "-c",
        "grep -E 'Seccomp:' /proc/self/status; mount -t tmpfs x /tmp 2>&1; ls -d /dev/shm; date -s 0 2>&1 | tail -1"
    ]);
    let text = bench.prints(&spec);
    assert!(text.starts_with("Seccomp:\t2\n"), "{text}");
    assert!(text.contains("permission denied") || text.contains("not permitted"), "{text}");
    assert!(text.contains("/dev/shm\n"), "{text}");
}

#[test]
fn a_root_can_be_entered_without_pivot() {
    need!(root);
    let bench = Bench::new();
    let spec = bench.spec("ls /; cat /etc/passwd | wc -l; exec sleep 600");
    let mut options = stowd_oci_runtime::CreateOptions::new(&bench.id, &bench.bundle);
    options.spec = Some(stowd_oci_runtime::spec::Spec::parse(spec.to_string().as_bytes()).unwrap());
    options.root_switch = stowd_oci_runtime::RootSwitch::Move;
    let (stdio, output) = support::captured();
    options.stdio = stdio;
    let mut container = bench.runtime.create(options).unwrap().container;
    container.start().unwrap();
    let inside = support::exec(&container, |_| {}, "ls / | tr '\\n' ' '; wc -l < /etc/passwd");
    assert_eq!(inside.unwrap().output, "bin dev etc home proc root run sys tmp 2\n");
    // Read before the end: the script may still be on its way to its last line.
    let mut output = std::fs::File::from(output);
    let mut said = Vec::new();
    while !said.ends_with(b"tmp\n2\n") {
        let mut piece = [0; 256];
        let count = std::io::Read::read(&mut output, &mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&piece[..count]);
    }
    support::end(container);
}
