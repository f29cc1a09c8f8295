//! Starting shims, in both ways.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use stowd_api::runc::v1::Options;
use stowd_api::runtime::bootstrap::v1::{BootstrapParams, Extension};
use stowd_api::{Any, Message as _};
use stowd_core::{Error, Result};
use stowd_sys::exec::ExecStrings;
use stowd_sys::spawn::{Spawn, spawn};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::address::{self, Bootstrap};
use crate::bundle::{Bundle, Kind};
use crate::cgroup;
use crate::manager::Inner;
use crate::program::{Input, Program, Way};
use crate::shim::{Parent, Process, Shim};
use crate::spec::Spec;
use crate::task::Task;

/// The file in a bundle to which a shim writes what it has to say.
pub(crate) const LOG: &str = "log";

/// The version that the bootstrap parameters say we have: the containerd whose protocol this is.
const CONTAINERD_VERSION: &str = "2.3.0";

impl Inner {
    /// Makes a task's bundle and gives the task its shim: a new one, or its group's.
    pub(crate) async fn start_shim(
        self: &Arc<Self>,
        task: &Arc<Task>,
        program: &Program,
        json: bytes::Bytes,
        group: &str,
        options: Option<&stowd_core::Any>,
    ) -> Result<Arc<Shim>> {
        let spec = match task.kind {
            Kind::Task => Spec::read(&json)?,
            Kind::Sandbox => Spec::guess(&json),
        };
        let _ = task.program.set(program.path.clone());
        match program.way {
            Way::Bootstrap(input) => {
                let bundle = task.bundle.clone();
                blocking(move || bundle.make(&json, &spec)).await?;
                let input = match input {
                    Input::Parameters => self.parameters(task, options),
                    Input::Options => options
                        .map(|options| Any::from(options.clone()).encode_to_vec())
                        .unwrap_or_default(),
                };
                self.bootstrap(task, program, &input).await
            }
            Way::Direct => {
                let group = spec.group().or(Some(group)).filter(|group| !group.is_empty());
                let Some(group) = group.map(str::to_owned) else {
                    return self.direct(task, program, json, spec, &task.id, options).await;
                };
                // One after the other within a group: the second finds what the first started.
                let lock = self.group(&address::socket(&self.config, &task.namespace, &group));
                let _lock = lock.lock().await;
                self.direct(task, program, json, spec, &group, options).await
            }
        }
    }

    /// Hands our own shim a socket that it serves.
    async fn direct(
        self: &Arc<Self>,
        task: &Arc<Task>,
        program: &Program,
        json: bytes::Bytes,
        spec: Spec,
        group: &str,
        options: Option<&stowd_core::Any>,
    ) -> Result<Arc<Shim>> {
        let socket = address::socket(&self.config, &task.namespace, group);
        let bootstrap = Bootstrap::own(&socket);
        let bundle = task.bundle.clone();
        if let Some(shim) = self.known(&bootstrap.address) {
            if shim.join(task) {
                task.set_shim(shim.clone());
                blocking(move || bundle.make(&json, &spec)).await?;
                return Ok(shim);
            }
            shim.released(self.config.timeouts.shutdown * 3).await;
        }
        let (inner, program, id) = (self.clone(), program.path.clone(), task.id.clone());
        let (namespace, cgroup) = (task.namespace.clone(), shim_cgroup(options)?);
        let (pid, pidfd) = blocking(move || {
            bundle.make(&json, &spec)?;
            let started = inner.launch(&bundle, &program, namespace.as_str(), &id, &socket)?;
            if let Some(cgroup) = cgroup {
                cgroup::join(&cgroup, started.0);
            }
            Ok(started)
        })
        .await?;
        let process = Process::new(pid, pidfd, Parent::Us)?;
        let stream = match bootstrap.connect().await {
            Ok(stream) => stream,
            Err(error) => {
                process.end(self.config.timeouts.shutdown).await;
                return Err(error);
            }
        };
        let shim = Shim::new(bootstrap, stream, &task.namespace);
        shim.set_process(process);
        self.adopt(task, shim)
    }

    /// Binds the socket and starts our own shim on it. Blocks until the program runs.
    fn launch(
        &self,
        bundle: &Bundle,
        program: &Path,
        namespace: &str,
        id: &str,
        socket: &Path,
    ) -> Result<(u32, OwnedFd)> {
        let listener = self.bind(socket)?;
        let opened = || -> std::io::Result<_> {
            let null = File::options().read(true).write(true).open("/dev/null")?;
            let mut log = File::options();
            let log = log.append(true).create(true).mode(0o600).open(bundle.path.join(LOG))?;
            Ok((null, log))
        };
        let (null, log) = opened().map_err(|error| Error::io("open the shim's log", &error))?;
        let args: [&[u8]; 10] = [
            program.as_os_str().as_bytes(),
            b"-namespace",
            namespace.as_bytes(),
            b"-address",
            self.config.grpc_address.as_bytes(),
            b"-id",
            id.as_bytes(),
            b"-bundle",
            bundle.path.as_os_str().as_bytes(),
            b"serve",
        ];
        let args = args.into_iter().map(c_string).collect::<Result<Vec<_>>>()?;
        let mut env = self.env.clone();
        env.push(c_string(format!("NAMESPACE={namespace}").as_bytes())?);
        let fds = [null.as_fd(), null.as_fd(), log.as_fd(), listener.as_fd()];
        let start = self
            .sealed
            .open(program)
            .map_err(|error| Error::io(format_args!("open shim {}", program.display()), &error))?;
        let spawned = spawn(&Spawn {
            program: &start.path,
            args: &ExecStrings::new(args),
            env: &ExecStrings::new(env),
            cwd: &c_string(bundle.path.as_os_str().as_bytes())?,
            fds: &fds,
        });
        let (pid, pidfd) = spawned.map_err(|error| {
            let _ = std::fs::remove_file(socket);
            Error::io(format_args!("start shim {}", program.display()), &error.into())
        })?;
        Ok((pid.as_raw_nonzero().get().unsigned_abs(), pidfd))
    }

    fn bind(&self, socket: &Path) -> Result<UnixListener> {
        let mut bound = UnixListener::bind(socket);
        if let Err(error) = &bound {
            match error.kind() {
                std::io::ErrorKind::NotFound => self.make_socket_folder()?,
                // Of a shim that was killed: the living have tasks, and those are known.
                std::io::ErrorKind::AddrInUse => {
                    let _ = std::fs::remove_file(socket);
                }
                _ => {}
            }
            bound = UnixListener::bind(socket);
        }
        let private = std::fs::Permissions::from_mode(0o600);
        bound
            .and_then(|bound| std::fs::set_permissions(socket, private).map(|()| bound))
            .map_err(|error| Error::io(format_args!("listen at {}", socket.display()), &error))
    }

    /// Starts a shim as containerd does: it makes itself a background process, or finds the one of
    /// its group, and says where that listens.
    async fn bootstrap(
        self: &Arc<Self>,
        task: &Arc<Task>,
        program: &Program,
        input: &[u8],
    ) -> Result<Arc<Shim>> {
        drain_log(task);
        let timeouts = &self.config.timeouts;
        let starting = self.run(task, &program.path, "start", input);
        let answer = tokio::time::timeout(timeouts.work, starting)
            .await
            .unwrap_or_else(|_| Err(Error::deadline_exceeded("the shim's start took too long")))?;
        let bootstrap = Bootstrap::read(&answer)?;
        let lock = self.group(Path::new(&bootstrap.address));
        let _lock = lock.lock().await;
        if let Some(shim) = self.known(&bootstrap.address)
            && shim.join(task)
        {
            task.set_shim(shim.clone());
            return Ok(shim);
        }
        let stream = bootstrap.connect().await?;
        let shim = Shim::new(bootstrap, stream, &task.namespace);
        let connected = shim.connect(&task.id, timeouts.call).await;
        // Some shims answer this only for tasks that exist.
        let pid = connected.ok().map(|it| it.shim_pid).filter(|pid| *pid != 0);
        if let Some(process) = pid.and_then(Process::find) {
            shim.set_process(process);
        }
        self.adopt(task, shim)
    }

    /// Makes a new shim known, as its first task's.
    pub(crate) fn adopt(self: &Arc<Self>, task: &Arc<Task>, shim: Shim) -> Result<Arc<Shim>> {
        let shim = Arc::new(shim);
        shim.join(task);
        task.set_shim(shim.clone());
        let mut shims = self.shims.lock().unwrap_or_else(PoisonError::into_inner);
        shims.insert(shim.bootstrap.address.clone(), Arc::downgrade(&shim));
        drop(shims);
        self.watch(shim.clone());
        Ok(shim)
    }

    /// Returns the shim that listens there, or did and is not quite gone.
    pub(crate) fn known(&self, address: &str) -> Option<Arc<Shim>> {
        let shims = self.shims.lock().unwrap_or_else(PoisonError::into_inner);
        shims.get(address).and_then(std::sync::Weak::upgrade)
    }

    pub(crate) fn group(&self, socket: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody but us has those that are not in use.
        groups.retain(|_, lock| Arc::strong_count(lock) > 1);
        groups.entry(socket.to_owned()).or_default().clone()
    }

    /// Runs a shim's program for one of its actions, `start` or `delete`, and returns its output.
    pub(crate) async fn run(
        &self,
        task: &Task,
        program: &Path,
        action: &str,
        input: &[u8],
    ) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| {
            Error::io(format_args!("run {} {action}", program.display()), &error)
        };
        let own = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["-namespace", task.namespace.as_str()])
            .args(["-address", &self.config.grpc_address])
            .arg("-publish-binary")
            .arg(own)
            .args(["-id", &task.id]);
        if action == "delete" {
            command.arg("-bundle").arg(&task.bundle.path);
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            command.arg("-debug");
        }
        command
            .arg(action)
            .current_dir(&task.bundle.path)
            .env("GOMAXPROCS", "2")
            .env("MAX_SHIM_VERSION", "2")
            .env("TTRPC_ADDRESS", &self.config.ttrpc_address)
            .env("GRPC_ADDRESS", &self.config.grpc_address)
            .env("NAMESPACE", task.namespace.as_str())
            .envs(self.config.env.iter().filter_map(|pair| pair.split_once('=')))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Older shims do not read it.
            let _ = stdin.write_all(input).await;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        if !output.status.success() {
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said);
            return Err(Error::unknown(format_args!("{}: {}", said.trim(), output.status)));
        }
        Ok(output.stdout)
    }

    fn parameters(&self, task: &Task, options: Option<&stowd_core::Any>) -> Vec<u8> {
        let own = std::env::current_exe().unwrap_or_default();
        let extension =
            options.map(|options| Extension { value: Some(Any::from(options.clone())) });
        BootstrapParams {
            instance_id: task.id.clone(),
            namespace: task.namespace.as_str().to_owned(),
            containerd_version: CONTAINERD_VERSION.to_owned(),
            containerd_ttrpc_address: self.config.ttrpc_address.clone(),
            containerd_grpc_address: self.config.grpc_address.clone(),
            containerd_binary: own.to_string_lossy().into_owned(),
            extensions: extension.into_iter().collect(),
            socket_dir: Some(address::folder(&self.config).to_string_lossy().into_owned()),
            ..Default::default()
        }
        .encode_to_vec()
    }
}

/// Takes what a shim writes to the fifo that containerd's shims make for that. Nobody reading would
/// stop them when it is full.
pub(crate) fn drain_log(task: &Task) {
    use tokio::io::AsyncBufReadExt as _;
    let path = task.bundle.path.join(LOG);
    let made = mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o700), 0);
    if made.is_err_and(|error| error != rustix::io::Errno::EXIST) {
        return;
    }
    // For writing, too: else it would end whenever no shim has it open.
    let mut options = tokio::net::unix::pipe::OpenOptions::new();
    let Ok(fifo) = options.read_write(true).open_receiver(&path) else { return };
    let (id, mut stages) = (task.id.clone(), task.stage.subscribe());
    tokio::spawn(async move {
        let mut lines = tokio::io::BufReader::new(fifo).lines();
        loop {
            tokio::select! {
                line = lines.next_line() => match line {
                    Ok(Some(line)) => tracing::info!(id, "shim: {line}"),
                    _ => return,
                },
                _ = stages.wait_for(|stage| *stage == crate::task::Stage::Gone) => return,
            }
        }
    });
}

/// Returns the cgroup that the options ask for the shim itself.
fn shim_cgroup(options: Option<&stowd_core::Any>) -> Result<Option<String>> {
    let Some(options) = options else { return Ok(None) };
    let options = Any::from(options.clone())
        .unpack::<Options>()
        .map_err(|error| Error::invalid(format_args!("the runtime's options: {error}")))?;
    Ok(options.map(|options| options.shim_cgroup).filter(|path| !path.is_empty()))
}

/// Does something that blocks away from the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(Error::internal)?
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid("a null byte in a path or id"))
}
