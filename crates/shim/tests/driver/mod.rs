//! Drives a real shim: bundles of busybox, a ttrpc client, and a daemon's events service.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use stowd_api::rpc::Status;
use stowd_api::runc::v1::Options;
use stowd_api::services::events::ttrpc::v1::ForwardRequest;
use stowd_api::task::v3::*;
use stowd_api::ttrpc::{ClientConnection, Incoming, ServerConnection};
use stowd_api::{Any, Message, Name};
use stowd_sys::exec::ExecStrings;
use stowd_sys::spawn::{Spawn, spawn};
use stowd_testing::{Scratch, Version};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place with bundles and, if started, a shim.
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) events: Events,
    pub(crate) scratch: Scratch,
    pub(crate) options: Option<Any>,
}

/// A running shim and a connection to it.
pub(crate) struct Shim {
    pub(crate) client: Client,
    pub(crate) process: OwnedFd,
    pub(crate) pid: Pid,
    pub(crate) socket: PathBuf,
}

/// A ttrpc client.
pub(crate) struct Client {
    stream: UnixStream,
    ttrpc: ClientConnection,
    early: BTreeMap<u32, Result<Bytes, Status>>,
}

/// The daemon's events service.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<(String, Any)>>>);

impl Place {
    /// With the linked runtime.
    pub(crate) fn linked() -> Place {
        let scratch = Scratch::new();
        let namespace = scratch.namespace();
        Place { namespace, scratch, events: Events::default(), options: None }
    }

    /// With an unmodified runc.
    pub(crate) fn runc() -> Place {
        let path = Version::V1_6.program("runc");
        let binary_name = path.to_str().unwrap().to_owned();
        let options = Options { binary_name, ..Default::default() };
        Place { options: Some(Any::pack(&options)), ..Place::linked() }
    }

    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        let folder = "state/io.containerd.runtime.v2.task";
        self.scratch.join(folder).join(&self.namespace).join(id)
    }

    /// Makes a bundle that runs a shell script in namespaces of its own.
    pub(crate) fn script(&self, id: &str, script: &str) -> PathBuf {
        self.make(id, &["sh", "-c", script], |_| {})
    }

    pub(crate) fn make(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.bundle(id);
        let bin = bundle.join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for folder in ["proc", "dev", "sys", "tmp"] {
            std::fs::create_dir_all(bundle.join("rootfs").join(folder)).unwrap();
        }
        std::fs::copy(stowd_testing::clients::busybox(), bin.join("busybox")).unwrap();
        for name in ["sh", "sleep", "echo", "cat", "stty", "true", "kill", "head", "yes", "ls"] {
            let _ = symlink("busybox", bin.join(name));
        }
        let mut spec = json!({
            "ociVersion": "1.1.0",
            "process": process(args),
            "root": { "path": "rootfs" },
            "hostname": id,
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                  "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            ],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.namespace),
                "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
                "namespaces": [
                    { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                    { "type": "network" },
                ],
            },
        });
        change(&mut spec);
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        bundle
    }

    pub(crate) fn events_socket(&self) -> PathBuf {
        self.scratch.join("c.sock.ttrpc")
    }

    /// Starts a shim as stowd's daemon does.
    pub(crate) fn serve(&self, id: &str) -> Shim {
        let bundle = self.bundle(id);
        let socket = self.scratch.join(format!("{id}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let log = File::options().append(true).create(true).open(self.scratch.join("log")).unwrap();
        let address = self.scratch.join("c.sock");
        let args = [
            "stowd-shim",
            "-namespace",
            &self.namespace,
            "-address",
            address.to_str().unwrap(),
            "-id",
            id,
            "-bundle",
            bundle.to_str().unwrap(),
            "serve",
        ];
        let env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
        let (pid, process) = spawn(&Spawn {
            program: &c(env!("CARGO_BIN_EXE_stowd-shim")),
            args: &ExecStrings::new(args.map(c).into()),
            env: &ExecStrings::new(env.map(c).into()),
            cwd: &c(bundle.to_str().unwrap()),
            fds: &[null.as_fd(), null.as_fd(), log.as_fd(), listener.as_fd()],
        })
        .unwrap();
        drop(listener);
        Shim { client: Client::connect(&socket), process, pid, socket }
    }

    /// What the shims of this place have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Makes a fifo.
    pub(crate) fn fifo(&self, name: &str) -> String {
        let path = self.scratch.join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// The JSON of a process.
pub(crate) fn process(args: &[&str]) -> Value {
    json!({
        "user": { "uid": 0, "gid": 0 },
        "args": args,
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                          "effective": ["CAP_KILL"] },
    })
}

impl Shim {
    /// Tells it to go, and waits until it has.
    pub(crate) fn shut_down(mut self, place: &Place) {
        let request = ShutdownRequest::default();
        let _: () = self.client.call("Shutdown", &request).unwrap();
        self.wait(place);
    }

    pub(crate) fn wait(&self, place: &Place) {
        let mut ready = [rustix::event::PollFd::new(&self.process, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut ready, Some(&patience)).unwrap();
        assert_eq!(ended, 1, "the shim did not end: {}", place.log());
        let status = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED).unwrap();
        assert_eq!(status.and_then(|status| status.exit_status()), Some(0), "{}", place.log());
        assert!(!self.socket.exists(), "the shim left its socket");
    }
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Client {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, ttrpc: ClientConnection::new(), early: BTreeMap::new() }
    }

    pub(crate) fn call<R: Message + Default>(
        &mut self,
        method: &str,
        q: &impl Message,
    ) -> Result<R, Status> {
        let stream = self.send(method, q);
        self.answer(stream)
    }

    pub(crate) fn send(&mut self, method: &str, request: &impl Message) -> u32 {
        // Old daemons use the old name; both are the same service.
        let service = match method.len() % 2 {
            0 => "containerd.task.v2.Task",
            _ => "containerd.task.v3.Task",
        };
        let stream = self.ttrpc.call(service, method, request).unwrap();
        self.stream.write_all(&self.ttrpc.take_output()).unwrap();
        stream
    }

    pub(crate) fn answer<R: Message + Default>(&mut self, stream: u32) -> Result<R, Status> {
        loop {
            if let Some(answer) = self.early.remove(&stream) {
                return answer.map(|payload| R::decode(payload).unwrap());
            }
            while let Some((stream, answer)) = self.ttrpc.next() {
                self.early.insert(stream, answer);
            }
            if self.early.contains_key(&stream) {
                continue;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("an answer in time");
            assert_ne!(count, 0, "the shim closed the connection");
            self.ttrpc.received(&buffer[..count]);
        }
    }

    pub(crate) fn create(&mut self, place: &Place, id: &str, io: [&str; 3]) -> Result<u32, Status> {
        let request = CreateTaskRequest {
            id: id.into(),
            bundle: place.bundle(id).to_str().unwrap().into(),
            stdin: io[0].into(),
            stdout: io[1].into(),
            stderr: io[2].into(),
            options: place.options.clone(),
            ..Default::default()
        };
        self.call::<CreateTaskResponse>("Create", &request).map(|response| response.pid)
    }

    pub(crate) fn start(&mut self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let request = StartRequest { id: id.into(), exec_id: exec_id.into() };
        self.call::<StartResponse>("Start", &request).map(|response| response.pid)
    }

    pub(crate) fn wait(&mut self, id: &str, exec_id: &str) -> Result<u32, Status> {
        let request = WaitRequest { id: id.into(), exec_id: exec_id.into() };
        self.call::<WaitResponse>("Wait", &request).map(|response| response.exit_status)
    }

    pub(crate) fn delete(&mut self, id: &str, exec_id: &str) -> Result<DeleteResponse, Status> {
        self.call("Delete", &DeleteRequest { id: id.into(), exec_id: exec_id.into() })
    }

    pub(crate) fn state(&mut self, id: &str, exec_id: &str) -> Result<StateResponse, Status> {
        self.call("State", &StateRequest { id: id.into(), exec_id: exec_id.into() })
    }

    pub(crate) fn kill(&mut self, id: &str, exec_id: &str, signal: u32) -> Result<(), Status> {
        let request = KillRequest { id: id.into(), exec_id: exec_id.into(), signal, all: false };
        self.call("Kill", &request)
    }

    pub(crate) fn exec(
        &mut self,
        id: &str,
        exec_id: &str,
        args: &[&str],
        io: [&str; 3],
    ) -> Result<(), Status> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: process(args).to_string().into_bytes().into(),
        };
        let request = ExecProcessRequest {
            id: id.into(),
            exec_id: exec_id.into(),
            stdin: io[0].into(),
            stdout: io[1].into(),
            stderr: io[2].into(),
            spec: Some(spec),
            ..Default::default()
        };
        self.call("Exec", &request)
    }
}

impl Events {
    /// Serves at a socket until the test ends.
    pub(crate) fn serve(&self, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let events = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let events = events.clone();
                std::thread::spawn(move || events.converse(stream.unwrap()));
            }
        });
    }

    fn converse(&self, mut stream: UnixStream) {
        let mut ttrpc = ServerConnection::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            ttrpc.received(&buffer[..count]);
            while let Some(Incoming::Call(call)) = ttrpc.next() {
                assert_eq!(call.service, "containerd.services.events.ttrpc.v1.Events");
                let request = ForwardRequest::decode(call.payload).unwrap();
                let envelope = request.envelope.unwrap();
                let event = (envelope.topic, envelope.event.unwrap());
                self.0.lock().unwrap().push(event);
                ttrpc.reply(call.stream, &());
            }
            if stream.write_all(&ttrpc.take_output()).is_err() {
                return;
            }
        }
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().map(|(topic, _)| topic.trim_start_matches("/tasks/").to_owned()).collect()
    }

    /// Waits for so many events, and returns their topics' last parts.
    pub(crate) fn wait(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        while self.0.lock().unwrap().len() < count && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.topics()
    }

    pub(crate) fn all<M: Message + Name + Default>(&self) -> Vec<M> {
        let events = self.0.lock().unwrap();
        events.iter().filter_map(|(_, event)| event.unpack().unwrap()).collect()
    }
}

/// Reads a fifo to its end in the background. It is open when this returns, as a client has it before
/// it asks for a process: what a shim wrote before would be lost with it.
pub(crate) fn reader(path: &str) -> std::thread::JoinHandle<String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut fifo = File::options().read(true).custom_flags(flags).open(path).unwrap();
    std::thread::spawn(move || {
        // Before anybody writes, reading would find the end.
        poll(&mut [PollFd::new(&fifo, PollFlags::IN)], None).unwrap();
        ioctl_fionbio(&fifo, false).unwrap();
        let mut text = String::new();
        fifo.read_to_string(&mut text).unwrap();
        text
    })
}

/// Opens a fifo for writing, once there is a reader.
pub(crate) fn writer(path: &str) -> File {
    File::options().write(true).custom_flags(0).open(path).unwrap()
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}
