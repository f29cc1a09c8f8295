//! What the flags of `ctr run` do to a container, seen from inside.

use stowd_testing::Version;
use stowd_testing::daemon::Kind;
use stowd_testing::transcript::Session;

use crate::{IMAGE, import, start};

crate::scripts!(
    environment_and_folders,
    users_and_rights,
    mounts_and_devices,
    limits,
    namespaces_of_others,
    where_output_goes,
    roots_of_ones_own,
    mapped_users,
    flags_that_contradict,
);

/// Runs a shell script in a container with these flags, and records how it ends and what it says.
fn run(it: &mut Session<'_>, flags: &[&str], script: &str) {
    // A run that fails may leave its snapshot to the garbage collector: no name is used twice.
    let id = it.fresh("c");
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend([IMAGE, &id, "sh", "-c", script]);
    it.tries(&args);
}

fn environment_and_folders(it: &mut Session<'_>) {
    import(it);
    run(it, &[], "env | sort; pwd; hostname | wc -c; cat /proc/1/comm");
    run(it, &["--env", "A=1", "--env", "B=two words", "--env", "PATH=/bin"], "env | sort");
    let file = it.file("env", "FROM_FILE=yes\nOTHER=x=y\n");
    run(it, &["--env-file", &file, "--env", "OTHER=last"], "env | sort");
    run(it, &["--cwd", "/tmp"], "pwd");
    run(it, &["--cwd", "/made/on/demand"], "pwd; ls -ld .");
    run(it, &["--hostname", "deck"], "hostname");
    run(it, &["--label", "a=1", "--annotation", "b=2"], "true");
    run(it, &["--tty=false"], "test -t 0 || echo none");
    run(it, &[], "exit 7");
    run(it, &[], "kill -9 $$");
    run(it, &["--env-file", "/no/such/file"], "true");
    run(it, &["--cwd", "/etc/passwd"], "true");
}

fn users_and_rights(it: &mut Session<'_>) {
    import(it);
    const RIGHTS: &str = "id; grep -E 'Cap|NoNew|Seccomp:|Groups' /proc/self/status";
    run(it, &[], RIGHTS);
    run(it, &["--user", "1000:1001"], RIGHTS);
    run(it, &["--user", "1000"], RIGHTS);
    run(it, &["--user", "root"], RIGHTS);
    run(it, &["--user", "nobody-of-that-name"], RIGHTS);
    run(it, &["--privileged"], RIGHTS);
    run(it, &["--allow-new-privs"], RIGHTS);
    run(it, &["--seccomp"], RIGHTS);
    run(it, &["--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_CHOWN"], RIGHTS);
    run(it, &["--cap-add", "CAP_OF_ANOTHER_KIND"], RIGHTS);
    run(it, &["--seccomp", "--user", "1"], "unshare -U true || echo refused");
    run(it, &["--read-only"], "touch /here");
    run(it, &["--read-only"], "touch /dev/shm/here && echo there");
    run(it, &[], "dmesg 2>&1 | head -n 1; cat /proc/kcore 2>&1 | wc -c; ls /proc/acpi | wc -l");
    run(it, &[], "echo 1 >/proc/sys/kernel/panic");
}

fn mounts_and_devices(it: &mut Session<'_>) {
    import(it);
    let shared = it.folder.join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "from outside\n").unwrap();
    let bind =
        |more: &str| format!("type=bind,src={},dst=/mnt/in,options={more}", shared.display());
    let writable = bind("rbind:rw");
    run(it, &["--mount", &writable], "cat /mnt/in/file; echo inside >/mnt/in/new");
    assert_eq!(std::fs::read_to_string(shared.join("new")).unwrap(), "inside\n");
    let fixed = bind("rbind:ro");
    run(it, &["--mount", &fixed], "touch /mnt/in/more");
    let one = format!("type=bind,src={}/file,dst=/etc/one,options=bind:ro", shared.display());
    run(it, &["--mount", &one], "cat /etc/one; stat -c %F /etc/one");
    let sized = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=1m:mode=700:nosuid:noexec";
    run(it, &["--mount", sized], "grep ' /scratch ' /proc/mounts; stat -c %a /scratch");
    run(it, &["--mount", "type=bind,src=/no/such/folder,dst=/mnt/in,options=rbind"], "true");
    let odd = ["run", "--rm", "--mount", "type=nofs,src=none,dst=/mnt/in", IMAGE, "odd", "true"];
    let said = it.quiet_failure(&odd);
    assert!(said.contains("no such device"), "{said}");
    run(it, &["--mount", "nonsense"], "true");
    run(it, &[], "ls /dev | sort | xargs; stat -c '%F %a %t:%T' /dev/null /dev/zero /dev/full");
    run(it, &[], "awk '{print $3, $2}' /proc/mounts | sort");
    run(it, &["--device", "/dev/loop-control"], "stat -c '%F %a' /dev/loop-control");
    run(it, &["--device", "/dev/no-such-device"], "true");
    run(it, &[], "mknod /dev/disk b 254 0 && head -c 1 /dev/disk");
    run(it, &["--rootfs-propagation", "rshared"], "grep -c ' / ' /proc/self/mountinfo");
    run(it, &["--no-pivot"], "echo in");
}

fn limits(it: &mut Session<'_>) {
    import(it);
    // Where the machine shows its cgroups to the container as v1.
    const SHOW: &str = "for file in memory/memory.limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us \
                        cpu/cpu.cfs_period_us cpuset/cpuset.cpus memory.max cpu.weight cpu.max; do \
                        test -e /sys/fs/cgroup/$file && echo $file $(cat /sys/fs/cgroup/$file); done; true";
    let cgroup = "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro";
    let show = |it: &mut Session<'_>, flags: &[&str]| {
        run(it, &[&["--mount", cgroup], flags].concat(), SHOW);
    };
    show(it, &["--memory-limit", "67108864"]);
    show(it, &["--cpus", "0.5"]);
    show(it, &["--cpu-quota", "20000", "--cpu-period", "100000"]);
    if it.client == Version::V2 {
        show(it, &["--cpu-shares", "512"]);
        show(it, &["--cpuset-cpus", "0"]);
        run(it, &["--cpuset-cpus", "4095"], "true");
    }
    run(it, &["--cgroup", "/stowd-test/of-its-own"], "grep -c of-its-own /proc/self/cgroup");
    run(it, &[], "ulimit -n; cat /proc/self/oom_score_adj");
    // More than it may have: the kernel ends it, and says so.
    let said = it.quiet_failure(&[
        "run",
        "--rm",
        "--memory-limit",
        "8388608",
        IMAGE,
        "c",
        "/bin/sh",
        "-c",
        "exec tail /dev/zero",
    ]);
    assert!(!said.contains("panic"), "{said}");
}

fn namespaces_of_others(it: &mut Session<'_>) {
    import(it);
    run(it, &[], "ls /sys/class/net");
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    let inside =
        it.quiet(&["run", "--rm", "--net-host", IMAGE, "c", "readlink", "/proc/self/ns/net"]);
    assert_eq!(inside.trim(), outside.to_string_lossy());
    start(it, "first", "exec sleep 1000");
    let listed = it.quiet(&["tasks", "ls"]);
    let line = listed.lines().find(|line| line.starts_with("first")).unwrap();
    let pid = line.split_whitespace().nth(1).unwrap().to_owned();
    let (net, uts) = (format!("network:/proc/{pid}/ns/net"), format!("uts:/proc/{pid}/ns/uts"));
    let joined = it.quiet(&[
        "run",
        "--rm",
        "--with-ns",
        &net,
        "--with-ns",
        &uts,
        IMAGE,
        "c",
        "readlink",
        "/proc/self/ns/net",
    ]);
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(joined.trim(), theirs.to_string_lossy());
    run(it, &["--with-ns", "network:/proc/none/ns/net"], "true");
    it.quiet(&["tasks", "rm", "-f", "first"]);
}

fn where_output_goes(it: &mut Session<'_>) {
    import(it);
    let log = it.folder.join("out.log");
    let uri = format!("file://{}", log.display());
    run(it, &["--log-uri", &uri], "echo to the file; echo and errors >&2");
    // containerd's shim may still be copying, and loses the second stream when the first ends early:
    // only ours is held to it.
    let mut lines: Vec<String> = Vec::new();
    let whole = stowd_testing::process::wait_briefly(|| {
        let text = std::fs::read_to_string(&log).unwrap();
        lines = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines == ["and errors", "to the file"]
    });
    assert!(whole || it.daemon.kind() != Kind::Stowd, "{lines:?}");
    run(it, &["--null-io"], "echo nowhere; echo nothing >&2");
    let pid_file = it.folder.join("pid");
    it.quiet(&["run", "-d", "--pid-file", pid_file.to_str().unwrap(), IMAGE, "p", "sleep", "1000"]);
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(it.quiet(&["tasks", "ls"]).contains(pid.trim()), "{pid}");
    it.quiet(&["tasks", "rm", "-f", "p"]);
    let fifos = it.folder.join("fifos");
    run(it, &["--fifo-dir", fifos.to_str().unwrap()], "echo through a folder of ours");
    run(it, &["--log-uri", "nonsense://somewhere"], "true");
    run(it, &["--log-uri", "binary:///no/such/logger"], "true");
}

fn roots_of_ones_own(it: &mut Session<'_>) {
    import(it);
    // A root file system that no snapshotter knows: the image's, copied.
    let (mounted, root) = (it.folder.join("mounted"), it.folder.join("root"));
    std::fs::create_dir(&mounted).unwrap();
    let path = mounted.to_string_lossy().into_owned();
    it.quiet(&["images", "mount", IMAGE, &path]);
    stowd_testing::process::Run::program("cp").args(["-a".into(), mounted, root.clone()]).ok();
    it.quiet(&["images", "unmount", "--rm", &path]);
    let own = root.to_string_lossy().into_owned();
    it.tries(&[
        "run",
        "--rm",
        "--rootfs",
        &own,
        "c",
        "/bin/sh",
        "-c",
        "echo mine; echo kept >/kept",
    ]);
    assert_eq!(std::fs::read_to_string(root.join("kept")).unwrap(), "kept\n");
    it.tries(&["run", "--rm", "--rootfs", "/no/such/root", "c", "true"]);
    // A spec of one's own.
    let mut spec: serde_json::Value = serde_json::from_str(&it.quiet(&["oci", "spec"])).unwrap();
    spec["process"]["args"] = serde_json::json!(["/bin/echo", "as the spec says"]);
    spec["root"] = serde_json::json!({ "path": own });
    let config = it.file("config.json", spec.to_string());
    it.tries(&["run", "--rm", "--config", &config, "c"]);
    spec["ociVersion"] = serde_json::json!("99.0.0");
    let config = it.file("wrong.json", spec.to_string());
    it.tries(&["run", "--rm", "--config", &config, "c"]);
    let config = it.file("garbage.json", "{");
    it.tries(&["run", "--rm", "--config", &config, "c"]);
    it.tries(&["run", "--rm", "--snapshotter", "native", IMAGE, "c", "echo", "copied"]);
    it.tries(&["run", "--rm", "--snapshotter", "absent", IMAGE, "c", "echo", "copied"]);
}

fn mapped_users(it: &mut Session<'_>) {
    import(it);
    let maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"];
    run(it, &maps, "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /bin");
}

fn flags_that_contradict(it: &mut Session<'_>) {
    import(it);
    it.tries(&["run", "--rm", "-d", IMAGE, "c", "true"]);
    it.tries(&["run", "--runtime", "no.such", IMAGE, "c", "true"]);
    it.tries(&["containers", "ls"]);
    it.tries(&["snapshots", "ls"]);
}
