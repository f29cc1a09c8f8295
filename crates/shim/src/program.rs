//! A runtime that is a program with runc's command line: crun, runsc, nvidia-container-runtime.
//!
//! Its containers' processes become children of the shim because the shim is their subreaper.

use std::io::{IoSliceMut, Read as _, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use stowd_cgroups::{Cgroup, CgroupsPath, Driver, Layout};
use stowd_oci_runtime::spec::Spec;
use stowd_oci_runtime::{Delete, Stdio};

use crate::engine::{Executed, Made, Terminal};
use crate::failure::{Result, failed};
use crate::options::Options;

/// A runtime program with its global flags.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    root: PathBuf,
    driver: Driver,
    /// Where it writes why it failed.
    log: PathBuf,
}

/// A container of such a runtime's.
#[derive(Debug)]
pub(crate) struct ProgramContainer {
    pub(crate) program: Program,
    pub(crate) id: String,
    bundle: PathBuf,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) cgroup: Cgroup,
}

/// A line of the program's log.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

impl Program {
    pub(crate) fn new(path: &str, root: PathBuf, driver: Driver, bundle: &Path) -> Program {
        Program { path: path.into(), root, driver, log: bundle.join("log.json") }
    }

    pub(crate) fn create(
        &self,
        id: &str,
        bundle: &Path,
        spec: &Spec,
        stdio: Stdio,
        options: &Options,
    ) -> Result<(ProgramContainer, Option<OwnedFd>)> {
        let pid_file = bundle.join("init.pid");
        let mut command = self.command();
        command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file);
        if options.no_pivot_root {
            command.arg("--no-pivot");
        }
        if options.no_new_keyring {
            command.arg("--no-new-keyring");
        }
        let console = connect(&mut command, stdio, bundle)?;
        command.arg(id);
        self.run("OCI runtime create failed", command)?;
        let console = console.map(Console::receive).transpose()?;
        let (pid, pidfd) = process(&pid_file)?;
        let path = spec.linux.as_ref().map(|linux| &*linux.cgroups_path).unwrap_or_default();
        let paths = CgroupsPath::parse(path, id, self.driver)
            .and_then(|path| path.resolve(Layout::get()?))
            .map_err(failed)?;
        let container = ProgramContainer {
            program: self.clone(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            pid,
            pidfd,
            cgroup: Cgroup::load(paths),
        };
        Ok((container, console))
    }

    pub(crate) fn delete(&self, id: &str, which: Delete) -> Result<Vec<String>> {
        let mut command = self.command();
        command.arg("delete");
        if which == Delete::Force {
            command.arg("--force");
        }
        self.run("failed to delete task", silent(command.arg(id)))?;
        Ok(Vec::new())
    }

    /// Asks what it can do. Not every runtime answers that.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn features(&self) -> std::result::Result<Option<Vec<u8>>, String> {
        let asked = Command::new(&self.path).arg("features").stdin(ProcessStdio::null()).output();
        match asked {
            Ok(said) if said.status.success() => {
                let is_object = serde_json::from_slice::<serde_json::Value>(&said.stdout)
                    .is_ok_and(|json| json.is_object());
                Ok(is_object.then_some(said.stdout))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                let name = self.path.display();
                Err(format!("failed to look up the path of \"{name}\": {error}"))
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log);
        command.args(["--log-format", "json"]);
        if self.driver == Driver::Systemd {
            command.arg("--systemd-cgroup");
        }
        command
    }

    /// Runs a command to its end. What it logged says why it failed.
    fn run(&self, act: &str, mut command: impl std::borrow::BorrowMut<Command>) -> Result<()> {
        let start = self.log.metadata().map_or(0, |log| log.len());
        let status = command.borrow_mut().status();
        // Its descriptors are the process's streams; ours must not stay open.
        drop(command);
        let status = status
            .map_err(|error| failed(format_args!("{act}: {}: {error}", self.path.display())))?;
        if status.success() {
            return Ok(());
        }
        let why = self.why(start).unwrap_or_else(|| format!("{}: {status}", self.path.display()));
        Err(failed(format_args!("{act}: {why}")))
    }

    /// Returns the last error logged after `start`.
    fn why(&self, start: u64) -> Option<String> {
        let mut log = std::fs::File::open(&self.log).ok()?;
        log.seek(SeekFrom::Start(start)).ok()?;
        let mut text = String::new();
        log.take(1 << 20).read_to_string(&mut text).ok()?;
        let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines.into_iter().find(|line| line.level == "error").map(|line| line.msg)
    }
}

impl ProgramContainer {
    /// Runs a command of the runtime's for this container.
    pub(crate) fn run(&self, act: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.program.command();
        self.program.run(act, silent(command.args(arguments).arg(&self.id)))
    }

    pub(crate) fn exec(&self, spec: &[u8], terminal: Terminal, stdio: Stdio) -> Result<Executed> {
        const ACT: &str = "OCI runtime exec failed";
        let mut spec: serde_json::Value = serde_json::from_slice(spec).map_err(failed)?;
        spec["terminal"] = (terminal == Terminal::New).into();
        let files = ["exec.json", "exec.pid"].map(|name| self.bundle.join(name));
        let [spec_file, pid_file] = &files;
        std::fs::write(spec_file, spec.to_string()).map_err(failed)?;
        let mut command = self.program.command();
        command.args(["exec", "--detach"]).arg("--process").arg(spec_file);
        command.arg("--pid-file").arg(pid_file);
        let console = connect(&mut command, stdio, &self.bundle)?;
        command.arg(&self.id);
        let made = self.program.run(ACT, command).and_then(|()| {
            let console = console.map(Console::receive).transpose()?;
            Ok(Made { made: process(pid_file)?, console, warnings: Vec::new() })
        });
        for file in &files {
            let _ = std::fs::remove_file(file);
        }
        made
    }

    pub(crate) fn update(&self, act: &str, resources: &[u8]) -> Result<()> {
        let file = self.bundle.join("resources.json");
        std::fs::write(&file, resources).map_err(failed)?;
        let path = file.to_string_lossy().into_owned();
        let updated = self.run(act, &["update", "--resources", &path]);
        let _ = std::fs::remove_file(file);
        updated
    }
}

/// A socket at which the program hands over a terminal's master.
struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    fn listen(bundle: &Path) -> Result<Console> {
        // In the system's folder for such things, as the bundle's path may be too long for a socket.
        let name = bundle.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name: String = name.chars().take(40).collect();
        let path = std::env::temp_dir().join(format!("pty-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|error| {
            failed(format_args!("failed to create OCI runtime console socket: {error}"))
        })?;
        Ok(Console { listener, path })
    }

    /// Takes what the program, which has ended, has sent.
    fn receive(self) -> Result<OwnedFd> {
        let wrong = |error: &dyn std::fmt::Display| {
            failed(format_args!("failed to retrieve console master: {error}"))
        };
        self.listener.set_nonblocking(true).map_err(|error| wrong(&error))?;
        let (stream, _) = self.listener.accept().map_err(|error| wrong(&error))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut name = [IoSliceMut::new(&mut name)];
        recvmsg(&stream, &mut name, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|error| wrong(&error))?;
        let mut messages = control.drain();
        let master = messages.find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        master.ok_or_else(|| wrong(&"none was sent"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Gives a command the process's streams, or a socket for its terminal.
fn connect(command: &mut Command, stdio: Stdio, bundle: &Path) -> Result<Option<Console>> {
    match stdio {
        Stdio::Terminal => {
            let console = Console::listen(bundle)?;
            silent(command).arg("--console-socket").arg(&console.path);
            Ok(Some(console))
        }
        Stdio::Fds { stdin, stdout, stderr } => {
            let stream = |fd: Option<OwnedFd>| fd.map_or_else(ProcessStdio::null, Into::into);
            command.stdin(stream(stdin)).stdout(stream(stdout)).stderr(stream(stderr));
            Ok(None)
        }
        Stdio::Inherit => Ok(None),
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(ProcessStdio::null()).stdout(ProcessStdio::null()).stderr(ProcessStdio::null())
}

/// Reads the pid that the program wrote. The process is our child, so that the number means it.
fn process(file: &Path) -> Result<(Pid, OwnedFd)> {
    let wrong = |error: &dyn std::fmt::Display| {
        failed(format_args!("failed to retrieve OCI runtime container pid: {error}"))
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let number = text.trim().parse::<i32>().map_err(|error| wrong(&error))?;
    let pid = Pid::from_raw(number).ok_or_else(|| wrong(&"it is 0"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| wrong(&error))?;
    Ok((pid, pidfd))
}
