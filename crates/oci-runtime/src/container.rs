//! One container, from created to deleted.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use stowd_cgroups::{Cgroup, FreezerState};

use crate::error::{Error, Result};
use crate::plan::resources::{Devices, resources};
use crate::saved::{Saved, start_time};
use crate::spec::Resources;
use crate::{ExecOptions, Process, State, Status, exec, failure, hooks, launch};

/// One container. Dropping it changes nothing: the container goes on, [`Runtime::load`] finds it.
///
/// [`Runtime::load`]: crate::Runtime::load
#[derive(Debug)]
pub struct Container {
    pub(crate) dir: PathBuf,
    pub(crate) saved: Saved,
    bundle: PathBuf,
    pub(crate) pid: Pid,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) cgroup: Cgroup,
    /// In the process that created it, until it is started: where init reports, and its program.
    starting: Option<(OwnedFd, String)>,
}

/// Which containers [`Container::delete`] may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// Only a stopped one, or one that was never started.
    Stopped,
    /// Any: its processes are killed first.
    Force,
}

impl Container {
    /// Its name.
    pub fn id(&self) -> &str {
        &self.saved.id
    }

    /// The directory of its bundle.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Its init process in the caller's pid namespace, also after that has exited.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the init process has exited; `None` if it had when the container was loaded.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Its cgroup, for statistics, OOM events and process ids.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where in its life it is now.
    pub fn status(&self) -> Result<Status> {
        if !self.runs() {
            return Ok(Status::Stopped);
        }
        if self.fifo().exists() {
            return Ok(Status::Created);
        }
        match self.cgroup.freezer_state() {
            Ok(FreezerState::Frozen) => Ok(Status::Paused),
            // Without a freezer nothing can be paused.
            _ => Ok(Status::Running),
        }
    }

    /// The specification's state, now.
    pub fn state(&self) -> Result<State> {
        let status = self.status()?;
        Ok(self.state_with(status))
    }

    /// Lets the init process run its program, then runs the poststart hooks.
    ///
    /// Returns when init has become its program (if this process created the container; otherwise
    /// when init has been let go). Gives the warnings. A program that was found but that the kernel
    /// does not take counts as started too, as with runc: it says so on its standard error and ends
    /// with status 255.
    pub fn start(&mut self) -> Result<Vec<String>> {
        let wrong = |text: &str| Err(Error::WrongState(text.into()));
        match self.status()? {
            Status::Created => {}
            Status::Stopped => return wrong("cannot start a container that has stopped"),
            Status::Running => return wrong("cannot start an already running container"),
            other => return wrong(&format!("cannot start a container in the {other} state")),
        }
        self.open_barrier()?;
        if let Some((socket, program)) = self.starting.take()
            && let Some(failed) = launch::executed(&socket)?
        {
            return Err(failure::late(&program, failed));
        }
        let state = self.state_with(Status::Running);
        Ok(hooks::run_all("poststart", &self.saved.config.hooks.poststart, &state))
    }

    /// Sends a signal (by number, real-time ones included) to the init process.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let gone = || Error::NotRunning { id: self.saved.id.clone() };
        let shared_pids = !self.saved.config.namespaces.iter().any(|one| one.kind == "NEWPID");
        let running = self.pidfd.as_ref().filter(|_| self.runs());
        let all = signal == SIGKILL && shared_pids;
        if all {
            // Without a pid namespace of its own, init's end does not end the others.
            self.cgroup.kill().map_err(Error::cgroup("kill"))?;
        }
        match stowd_sys::signal::send(running.ok_or_else(gone)?, signal) {
            // It may have gone with the others just now, as was asked.
            Err(Errno::SRCH) if all => {}
            Err(Errno::SRCH) => return Err(gone()),
            result => result.map_err(Error::system("kill"))?,
        }
        if signal == SIGKILL && matches!(self.cgroup.freezer_state(), Ok(FreezerState::Frozen)) {
            // What v1's freezer holds does not even die.
            _ = self.cgroup.thaw();
        }
        Ok(())
    }

    /// Sends a signal to every process in the container's cgroup.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == SIGKILL {
            return self.cgroup.kill().map_err(Error::cgroup("kill"));
        }
        if let Some(named) = Signal::from_named_raw(signal) {
            return self.cgroup.signal(named).map_err(Error::cgroup("signal"));
        }
        // Real-time signals: each process by a descriptor, so that none is mistaken.
        for pid in self.pids()? {
            let sent = pidfd_open(pid, PidfdFlags::empty())
                .and_then(|pidfd| stowd_sys::signal::send(&pidfd, signal));
            match sent {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::System { act: "kill", source: errno }),
            }
        }
        Ok(())
    }

    /// Starts one more process inside. It is the caller's child.
    pub fn exec(&self, options: ExecOptions) -> Result<Process> {
        match self.status()? {
            Status::Stopped => Err(Error::WrongState("cannot exec in a stopped container".into())),
            Status::Paused => Err(Error::WrongState("cannot exec in a paused container".into())),
            _ => exec::exec(self, options),
        }
    }

    /// Stops all its processes where they stand.
    pub fn pause(&self) -> Result<()> {
        match self.status()? {
            Status::Running | Status::Created => {
                self.cgroup.freeze().map_err(Error::cgroup("pause"))
            }
            Status::Paused => Ok(()),
            _ => Err(self.not_running()),
        }
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<()> {
        match self.status()? {
            Status::Paused => self.cgroup.thaw().map_err(Error::cgroup("resume")),
            _ => Err(Error::WrongState("container not paused".into())),
        }
    }

    /// Changes the cgroup's limits; what is absent stays.
    pub fn update(&mut self, resources: &Resources) -> Result<()> {
        if self.status()? == Status::Stopped {
            return Err(self.not_running());
        }
        let limits = self::resources(resources, Devices::Keep)?;
        self.cgroup.set(&limits).map_err(Error::cgroup("update"))
    }

    /// All its processes in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        match self.cgroup.all_pids() {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            result => result.map_err(Error::cgroup("read pids")),
        }
    }

    /// Removes what is left of it: processes (with [`Delete::Force`]), cgroup, state; then runs the
    /// poststop hooks. The init process itself is the caller's to reap, before or after.
    pub fn delete(self, which: Delete) -> Result<Vec<String>> {
        let status = self.status()?;
        if which == Delete::Stopped && !matches!(status, Status::Stopped | Status::Created) {
            return Err(Error::WrongState(format!(
                "cannot delete container {} that is not stopped: {status}",
                self.saved.id
            )));
        }
        if status != Status::Stopped
            && let Some(pidfd) = &self.pidfd
        {
            _ = stowd_sys::signal::send(pidfd, SIGKILL);
        }
        // Also what a dead init without a pid namespace of its own has left.
        if self.cgroup.exists() {
            self.cgroup.kill().map_err(Error::cgroup("kill"))?;
            if status == Status::Paused {
                _ = self.cgroup.thaw();
            }
        }
        if status != Status::Stopped
            && let Some(pidfd) = &self.pidfd
        {
            wait_for_end(pidfd.as_fd());
        }
        self.cgroup.delete().map_err(Error::cgroup("unable to remove container's cgroup"))?;
        std::fs::remove_dir_all(&self.dir)
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .map_err(|error| Error::file("remove", &self.dir, error))?;
        let state = self.state_with(Status::Stopped);
        Ok(hooks::run_all("poststop", &self.saved.config.hooks.poststop, &state))
    }

    /// A container that was made just now.
    pub(crate) fn made(
        dir: PathBuf,
        saved: Saved,
        cgroup: Cgroup,
        pid: Pid,
        pidfd: OwnedFd,
        socket: OwnedFd,
        program: String,
    ) -> Container {
        let (bundle, _) = saved.labels();
        let starting = Some((socket, program));
        Container { dir, saved, bundle, pid, pidfd: Some(pidfd), cgroup, starting }
    }

    /// A container that was made before, perhaps by another process.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Container> {
        let not_found = || Error::NotFound { id: id.into() };
        if id.is_empty() || id.contains('/') || id == "." || id == ".." {
            return Err(not_found());
        }
        let dir = root.join(id);
        let saved = match Saved::read(&dir) {
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(not_found());
            }
            result => result?,
        };
        let pid = Pid::from_raw(saved.init_process_pid).ok_or_else(not_found)?;
        // The descriptor first: once it is open, the id cannot come to mean another process.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok().filter(|_| {
            start_time(saved.init_process_pid)
                .is_some_and(|(start, runs)| runs && start == saved.init_process_start)
        });
        let (bundle, _) = saved.labels();
        let cgroup = Cgroup::load(saved.cgroup_paths.iter().collect());
        Ok(Container { dir, saved, bundle, pid, pidfd, cgroup, starting: None })
    }

    fn runs(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())) == Ok(0)
    }

    fn fifo(&self) -> PathBuf {
        self.dir.join("exec.fifo")
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { id: self.saved.id.clone() }
    }

    fn state_with(&self, status: Status) -> State {
        let (bundle, annotations) = self.saved.labels();
        State {
            oci_version: self.saved.config.version.clone(),
            id: self.saved.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.saved.init_process_pid },
            bundle,
            annotations,
        }
    }

    /// Reads what init writes when it may go on, and removes the barrier.
    fn open_barrier(&self) -> Result<()> {
        let path = self.fifo();
        let failed = |errno| Error::file("open", &path, errno);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = openat(CWD, &path, flags, Mode::empty()).map_err(failed)?;
        let Some(pidfd) = &self.pidfd else { return Err(self.not_running()) };
        let mut fds = [PollFd::new(&fifo, PollFlags::IN), PollFd::new(pidfd, PollFlags::IN)];
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                result => {
                    result.map_err(failed)?;
                    break;
                }
            }
        }
        let mut byte = [0u8; 1];
        if !matches!(rustix::io::read(&fifo, &mut byte), Ok(1)) {
            return Err(Error::WrongState("container process is already dead".into()));
        }
        std::fs::remove_file(&path).map_err(|source| Error::file("remove", &path, source))
    }
}

/// Waits up to ten seconds for a killed process to end; it is the caller's to reap.
fn wait_for_end(pidfd: BorrowedFd<'_>) {
    let limit = Timespec { tv_sec: Duration::from_secs(10).as_secs().cast_signed(), tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    while poll(&mut fds, Some(&limit)) == Err(Errno::INTR) {}
}

const SIGKILL: i32 = 9;
