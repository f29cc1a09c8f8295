//! What a task needs around it: a root file system, a spec, streams to read and write.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use stowd_core::Any;
use stowd_core::mount::Mount;
use stowd_core::tasks::{Create, Exec, Exit, Process, Status, Stdio};

use super::super::Must as _;
use super::Subject;
use crate::image::Layer;
use crate::process::Run;

const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Unpacks busybox into a folder, once per folder.
pub(super) fn root_file_system(folder: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    if !root.exists() {
        fs::create_dir(&root).expect("a root folder");
        let archive = folder.join("rootfs.tar");
        fs::write(&archive, Layer::busybox().tar()).expect("an archive");
        Run::program("tar")
            .args(["-C".as_ref(), root.as_os_str(), "-xf".as_ref(), archive.as_os_str()])
            .ok();
    }
    root
}

/// An OCI process of root with the usual capabilities.
pub(super) fn process<S: AsRef<str>>(args: &[S]) -> Value {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID"
    ]);
    json!({
        "terminal": false,
        "user": { "uid": 0, "gid": 0 },
        "args": args,
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities
        },
        "noNewPrivileges": true,
    })
}

/// A spec that runs a process in namespaces of its own, in a cgroup named after its namespace.
pub(super) fn spec(it: &Subject, id: &str, process: Value) -> Value {
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "hold",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{}/{id}", it.scope.namespace),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

/// A shell script as a spec.
pub(super) fn script(it: &Subject, id: &str, text: &str) -> Value {
    spec(it, id, process(&["sh", "-c", text]))
}

/// Creates the container and the task, with streams to nowhere unless given.
pub(super) async fn create(it: &Subject, id: &str, spec: &Value, stdio: Stdio) -> u32 {
    try_create(it, id, spec, stdio).await.must(format_args!("creating task {id}"))
}

/// As [`create`], but lets the task's creation fail.
pub(super) async fn try_create(
    it: &Subject,
    id: &str,
    spec: &Value,
    stdio: Stdio,
) -> stowd_core::Result<u32> {
    let container = stowd_core::containers::Container {
        spec: Some(any(stowd_core::containers::SPEC_TYPE, spec)),
        ..super::super::containers::container(id, "{}")
    };
    it.containers.create(&it.scope, container).await.must("creating a container");
    it.tasks.create(&it.scope, task(it, id, stdio)).await
}

/// The request for a task on the busybox root file system.
pub(super) fn task(it: &Subject, id: &str, stdio: Stdio) -> Create {
    let root = root_file_system(&it.folder);
    let rootfs = vec![Mount {
        kind: "bind".to_owned(),
        source: root.to_string_lossy().into_owned(),
        target: String::new(),
        options: vec!["rbind".to_owned(), "ro".to_owned()],
    }];
    Create { container_id: id.to_owned(), rootfs, stdio, ..Default::default() }
}

/// Creates and starts a shell script, and returns its pid.
pub(super) async fn run(it: &Subject, id: &str, text: &str) -> u32 {
    create(it, id, &script(it, id, text), Stdio::default()).await;
    start(it, id).await
}

pub(super) async fn start(it: &Subject, id: &str) -> u32 {
    it.tasks.start(&it.scope, id, "").await.must(format_args!("starting {id}"))
}

pub(super) async fn wait(it: &Subject, id: &str, exec: &str) -> Exit {
    it.tasks.wait(&it.scope, id, exec).await.must(format_args!("waiting for {id} {exec}"))
}

pub(super) async fn status(it: &Subject, id: &str) -> Status {
    state(it, id, "").await.status
}

pub(super) async fn state(it: &Subject, id: &str, exec: &str) -> Process {
    it.tasks.get(&it.scope, id, exec).await.must(format_args!("state of {id} {exec}"))
}

pub(super) async fn kill(it: &Subject, id: &str, signal: u32) {
    let reach = stowd_core::tasks::Reach::Process;
    it.tasks.kill(&it.scope, id, "", signal, reach).await.must(format_args!("killing {id}"));
}

/// Deletes a stopped task and its container; returns how it ended.
pub(super) async fn delete(it: &Subject, id: &str) -> Exit {
    let exit = it.tasks.delete(&it.scope, id, "").await.must(format_args!("deleting {id}"));
    it.containers.delete(&it.scope, id).await.must("deleting the container");
    exit
}

/// Kills, awaits and deletes a running task.
pub(super) async fn end(it: &Subject, id: &str) {
    kill(it, id, 9).await;
    wait(it, id, "").await;
    delete(it, id).await;
}

/// Makes a further process in a task.
pub(super) async fn exec(it: &Subject, id: &str, exec_id: &str, process: &Value, stdio: Stdio) {
    let wanted = exec_request(id, exec_id, process, stdio);
    it.tasks.exec(&it.scope, wanted).await.must(format_args!("exec {exec_id} in {id}"));
}

pub(super) fn exec_request(id: &str, exec_id: &str, process: &Value, stdio: Stdio) -> Exec {
    Exec {
        container_id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        stdio,
        spec: Some(any(PROCESS, process)),
    }
}

pub(super) fn any(type_url: &str, value: &Value) -> Any {
    Any { type_url: type_url.to_owned(), value: Bytes::from(value.to_string()) }
}

/// Fifos for a process's streams, with a reader on each of its outputs.
pub(super) struct Streams {
    pub(super) stdio: Stdio,
    folder: PathBuf,
    output: Option<Receiver<Vec<u8>>>,
    errors: Option<Receiver<Vec<u8>>>,
}

impl Streams {
    /// Makes fifos below the subject's folder; with a terminal there is no standard error.
    pub(super) fn new(it: &Subject, name: &str, terminal: bool) -> Self {
        let folder = it.folder.join(format!("fifo-{name}"));
        fs::create_dir(&folder).expect("a folder for fifos");
        let fifo = |name: &str| {
            let path = folder.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
            path.to_string_lossy().into_owned()
        };
        let stdio = Stdio {
            stdin: fifo("in"),
            stdout: fifo("out"),
            stderr: if terminal { String::new() } else { fifo("err") },
            terminal,
        };
        let output = Some(read(folder.join("out")));
        let errors = (!terminal).then(|| read(folder.join("err")));
        Self { stdio, folder, output, errors }
    }

    /// Writes to standard input and lets go of it.
    pub(super) fn write(&self, text: &str) {
        let mut stdin = fs::File::options()
            .write(true)
            .open(self.folder.join("in"))
            .expect("opening standard input");
        stdin.write_all(text.as_bytes()).expect("writing standard input");
    }

    /// Returns all that was printed, once the last writer is gone.
    pub(super) fn output(&mut self) -> String {
        text(self.output.take())
    }

    /// Returns all that was printed to standard error, once the last writer is gone.
    pub(super) fn errors(&mut self) -> String {
        text(self.errors.take())
    }
}

fn read(path: PathBuf) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut data = Vec::new();
        // A fifo that nobody ever opens keeps this thread until the test program ends.
        if let Ok(mut fifo) = fs::File::open(path) {
            let _ = fifo.read_to_end(&mut data);
        }
        let _ = sender.send(data);
    });
    receiver
}

fn text(from: Option<Receiver<Vec<u8>>>) -> String {
    let data = from
        .expect("each stream is read once")
        .recv_timeout(Duration::from_secs(20))
        .expect("the stream ends when its process has");
    String::from_utf8_lossy(&data).into_owned()
}
