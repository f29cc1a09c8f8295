//! Containers that try to get at the machine, by ways that worked in runtimes before.

#![allow(clippy::unwrap_used, reason = "what tests call; a panic there is the report")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use stowd_oci_runtime::{Delete, Stdio};
use stowd_testing::need;

use support::{Bench, end, exec};

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// CVE-2019-5736: the container runs the runtime's own file, to write to it later.
#[test]
fn the_runtimes_own_program_is_not_run() {
    need!(root);
    let bench = Bench::new();
    let bin = bench.bundle.join("rootfs/bin");
    symlink("/proc/self/exe", bin.join("link")).unwrap();
    executable(&bin.join("script"), "#!/proc/self/exe\n");
    executable(&bin.join("deep"), "#! /bin/script\n");
    for program in ["/proc/self/exe", "link", "script", "/bin/deep"] {
        let mut spec = bench.spec("");
        spec["process"]["args"] = json!([program, "--help"]);
        let error = bench.run(&spec).unwrap_err().to_string();
        assert!(error.ends_with(&format!("exec: {program:?}: permission denied")), "{error}");
    }
    let container = bench.sleeper(|_| {});
    let script = |process: &mut Value| process["args"] = json!(["script"]);
    let error = exec(&container, script, "").unwrap_err().to_string();
    assert!(error.ends_with("permission denied"), "{error}");
    end(container);
}

/// CVE-2024-21626: a working directory or a program by way of a descriptor of the runtime's.
#[test]
fn descriptors_of_the_runtime_lead_nowhere() {
    need!(root);
    let bench = Bench::new();
    for number in 3..40 {
        let mut spec = bench.spec("pwd; ls");
        spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        assert!(bench.run(&spec).is_err(), "{number}");
    }
    // One more process finds what is in its way there only at its turn.
    let container = bench.sleeper(|_| {});
    for number in 3..40 {
        let outside = |process: &mut Value| {
            process["cwd"] = json!(format!("/proc/self/fd/{number}"));
        };
        assert!(exec(&container, outside, "pwd").is_err(), "{number}");
        symlink(
            format!("/proc/self/fd/{number}"),
            bench.bundle.join(format!("rootfs/link{number}")),
        )
        .unwrap();
        let outside = |process: &mut Value| process["cwd"] = json!(format!("/link{number}"));
        assert!(exec(&container, outside, "pwd").is_err(), "{number}");
    }
    end(container);
}

#[test]
fn a_program_has_only_its_own_descriptors() {
    need!(root);
    let bench = Bench::new();
    // One that is not closed by itself, as another part of the calling program could have.
    let stray = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    // A shell beside the one that is looked at, since looking opens a descriptor; and no pipe, whose
    // ends that one would have open for a moment.
    let script = "(for fd in /proc/$$/fd/*; do printf '%s ' ${fd##*/}; done)";
    let all = bench.prints(&bench.spec(&format!("{script}; true")));
    assert_eq!(all, "0 1 2 ");
    let container = bench.sleeper(|_| {});
    let all = exec(&container, |_| {}, &format!("{script}; true")).unwrap().output;
    assert_eq!(all, "0 1 2 ");
    end(container);
    drop(stray);
}

/// CVE-2025-31133: `/dev/null`, with which paths are masked, is something else.
#[test]
fn a_false_null_device_does_not_mask() {
    need!(root);
    let bench = Bench::new();
    let dev = bench.scratch.folder("dev");
    let bind = json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["bind"] });
    let try_it = || {
        let mut spec = bench.spec("true");
        spec["mounts"] = json!([spec["mounts"][0], bind]);
        spec["linux"]["maskedPaths"] = json!(["/proc/timer_list"]);
        bench.run(&spec).unwrap_err().to_string()
    };
    let null = dev.join("null");
    symlink("/proc/sysrq-trigger", &null).unwrap();
    let error = try_it();
    assert!(error.contains("can't mask path \"/proc/timer_list\""), "{error}");
    std::fs::remove_file(&null).unwrap();
    std::fs::write(&null, "").unwrap();
    assert!(try_it().contains("can't mask path"), "a plain file");
}

/// CVE-2025-52565: the terminal is put over what a link at `/dev/console` leads to.
#[test]
fn a_link_as_the_console_is_not_followed() {
    need!(root);
    let bench = Bench::new();
    let dev = bench.scratch.folder("dev");
    symlink("/proc/sys/kernel/domainname", dev.join("console")).unwrap();
    let mut spec = bench.spec("true");
    push(
        &mut spec["mounts"],
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666"] }),
    );
    let bind = json!({ "destination": "/dev", "type": "bind", "source": dev, "options": ["bind"] });
    spec["mounts"][1] = bind;
    spec["process"]["terminal"] = json!(true);
    spec["linux"]["maskedPaths"] = json!([]);
    let error = bench.create(&spec, Stdio::Terminal).unwrap_err().to_string();
    assert!(error.contains("open a terminal: too many levels of symbolic links"), "{error}");
}

/// CVE-2025-52881: a value for one kernel parameter is led to another file.
#[test]
fn parameters_go_to_the_file_they_name() {
    need!(root);
    let other = Bench::new();
    // A mount namespace in which another file lies over a parameter's.
    let container = other.sleeper(|spec| {
        spec["linux"]["readonlyPaths"] = json!([]);
        for set in ["bounding", "effective", "permitted"] {
            push(&mut spec["process"]["capabilities"][set], json!("CAP_SYS_ADMIN"));
        }
    });
    let bind = "mount -o bind /tmp/file /proc/sys/net/ipv4/ip_forward";
    let ended = exec(
        &container,
        |process| {
            for set in ["bounding", "effective", "permitted"] {
                push(&mut process["capabilities"][set], json!("CAP_SYS_ADMIN"));
            }
        },
        &format!("echo original > /tmp/file; {bind}; mount | grep -c ip_forward"),
    )
    .unwrap();
    assert_eq!(ended.output, "1\n");
    let bench = Bench::new();
    let mut spec = bench.spec("true");
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", container.pid());
    spec["linux"]["namespaces"] = json!([
        { "type": "mount", "path": path("mnt") }, { "type": "network", "path": path("net") }
    ]);
    spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    spec["mounts"] = json!([]);
    let error = bench.run(&spec).unwrap_err().to_string();
    assert!(error.contains("/proc/sys/net/ipv4/ip_forward"), "{error}");
    let file = other.bundle.join("rootfs/tmp/file");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "original\n");
    end(container);
}

/// CVE-2021-30465: a mount point is exchanged for a link while mounts are made.
#[test]
fn mount_points_that_become_links_stay_inside() {
    need!(root);
    let bench = Bench::new();
    let root = bench.bundle.join("rootfs");
    let outside = bench.scratch.folder("outside");
    let data = bench.scratch.folder("data");
    std::fs::create_dir_all(root.join("shared/point")).unwrap();
    let up = "../".repeat(20);
    let (spare, point) = (root.join("shared/spare"), root.join("shared/point"));
    symlink(format!("{up}{}", outside.display()), &spare).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let cwd = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(cwd, &spare, cwd, &point, flags);
            }
        });
        for _ in 0..20 {
            let mut spec = bench.spec("grep -c outside /proc/self/mountinfo; true");
            let mount = json!({ "destination": "/shared/point/inner", "type": "bind",
                                "source": data, "options": ["bind"] });
            push(&mut spec["mounts"], mount);
            // What the other makes of it may fail, but never lead out.
            let _ = bench.run(&spec);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn the_whole_cgroup_ends_with_the_container() {
    need!(root);
    let bench = Bench::new();
    // Processes that init's end does not end, as they are in the machine's pid namespace.
    let mut spec = bench.spec("sleep 600 & sleep 600 & exec sleep 600");
    spec["linux"]["namespaces"] = json!([{ "type": "mount" }]);
    let (stdio, _output) = support::captured();
    let mut container = bench.create(&spec, stdio).unwrap().container;
    container.start().unwrap();
    let all = || container.pids().unwrap().len();
    assert!(stowd_testing::process::wait_briefly(|| all() == 3), "{}", all());
    container.pause().unwrap();
    container.kill(9).unwrap();
    support::reap(container.pid());
    assert!(stowd_testing::process::wait_briefly(|| all() == 0), "{}", all());
    container.delete(Delete::Stopped).unwrap();

    let mut container = bench.create(&spec, support::captured().0).unwrap().container;
    container.start().unwrap();
    // Only the first one is told to end; what it leaves goes with the container.
    stowd_testing::process::wait_briefly(|| container.pids().unwrap().len() == 3);
    container.kill(15).unwrap();
    support::reap(container.pid());
    container.delete(Delete::Stopped).unwrap();
}
