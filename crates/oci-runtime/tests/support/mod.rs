//! A bundle with busybox, and what tests do with it.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::expect_used, reason = "what tests call; a panic there is the report")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};
use serde_json::{Value, json};
use stowd_oci_runtime::{
    Container, CreateOptions, Created, Delete, Driver, ExecOptions, Result, Runtime, Stdio, spec,
};
use stowd_testing::Scratch;

/// One container's bundle and runtime root in a scratch folder.
pub(crate) struct Bench {
    pub(crate) scratch: Scratch,
    pub(crate) runtime: Runtime,
    pub(crate) bundle: PathBuf,
    pub(crate) id: String,
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: WaitStatus,
    pub(crate) output: String,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let scratch = Scratch::new();
        let bundle = scratch.folder("bundle");
        make_rootfs(&bundle.join("rootfs"));
        let runtime = Runtime::new(scratch.join("run"), Driver::Cgroupfs);
        let id = scratch.name("oci");
        Bench { scratch, runtime, bundle, id }
    }

    /// A specification like the one that containerd makes, which runs `script` in a shell.
    pub(crate) fn spec(&self, script: &str) -> Value {
        let mut spec = default_spec();
        spec["linux"]["cgroupsPath"] = json!(format!("/{}", self.id));
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec
    }

    pub(crate) fn create(&self, spec: &Value, stdio: Stdio) -> Result<Created> {
        let mut options = CreateOptions::new(&self.id, &self.bundle);
        options.spec = Some(spec::Spec::parse(spec.to_string().as_bytes())?);
        options.stdio = stdio;
        self.runtime.create(options)
    }

    /// Creates, starts, waits for the end and deletes.
    pub(crate) fn run(&self, spec: &Value) -> Result<Ended> {
        let (stdio, output) = captured();
        let mut container = self.create(spec, stdio)?.container;
        if let Err(error) = container.start() {
            reap(container.pid());
            container.delete(Delete::Force)?;
            return Err(error);
        }
        let text = read_all(output);
        let status = reap(container.pid());
        container.delete(Delete::Stopped)?;
        Ok(Ended { status, output: text })
    }

    /// What `script` prints in a container, which must succeed.
    pub(crate) fn prints(&self, spec: &Value) -> String {
        let ended = self.run(spec).expect("the container runs");
        assert_eq!(ended.status.exit_status(), Some(0), "{}", ended.output);
        ended.output
    }

    /// Creates and starts a container that sleeps.
    pub(crate) fn sleeper(&self, change: impl FnOnce(&mut Value)) -> Container {
        let mut spec = self.spec("exec sleep 600");
        change(&mut spec);
        let (stdio, _) = captured();
        let mut container = self.create(&spec, stdio).expect("create").container;
        container.start().expect("start");
        container
    }
}

/// Kills and deletes a container that runs.
pub(crate) fn end(container: Container) {
    container.kill(9).expect("kill");
    reap(container.pid());
    container.delete(Delete::Stopped).expect("delete");
}

/// Runs `script` inside by `exec`.
pub(crate) fn exec(
    container: &Container,
    change: impl FnOnce(&mut Value),
    script: &str,
) -> Result<Ended> {
    let mut process = default_spec()["process"].clone();
    process["args"] = json!(["sh", "-c", script]);
    change(&mut process);
    let mut options = ExecOptions::new(spec::Process::parse(process.to_string().as_bytes())?);
    let (stdio, output) = captured();
    options.stdio = stdio;
    let process = container.exec(options)?;
    let text = read_all(output);
    Ok(Ended { status: reap(process.pid), output: text })
}

/// Streams that end in one pipe, and its other end.
pub(crate) fn captured() -> (Stdio, OwnedFd) {
    let (output, input) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let stderr = input.try_clone().expect("another");
    (Stdio::Fds { stdin: None, stdout: Some(input), stderr: Some(stderr) }, output)
}

pub(crate) fn read_all(fd: impl AsFd) -> String {
    let mut file = File::from(fd.as_fd().try_clone_to_owned().expect("a copy"));
    let mut bytes = Vec::new();
    // A terminal's master says so when the other end is gone.
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn reap(pid: Pid) -> WaitStatus {
    waitpid(Some(pid), WaitOptions::empty()).expect("waitpid").expect("a status").1
}

pub(crate) fn make_rootfs(root: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/user"] {
        fs::create_dir_all(root.join(dir)).expect("a folder of the root");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
    for name in [
        "sh", "cat", "id", "ls", "mount", "grep", "sleep", "hostname", "stat", "true", "env",
        "pwd", "touch", "ps", "readlink", "tty", "stty", "kill", "echo", "wc", "head", "awk",
        "mknod", "chroot", "dd", "ip", "cut", "tr", "umount", "mkdir", "tail", "test", "dmesg",
        "date", "sort",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
    fs::write(root.join("etc/passwd"), users).expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("group");
}

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What containerd gives a container that asks for nothing.
pub(crate) fn default_spec() -> Value {
    json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": { "uid": 0, "gid": 0, "additionalGids": [0, 10] },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/run", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "network" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}
