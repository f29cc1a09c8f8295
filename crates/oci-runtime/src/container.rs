//! One container, from created to deleted.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::process::Pid;
use stowd_cgroups::Cgroup;

use crate::spec::Resources;
use crate::{Error, ExecOptions, Process, Result, State, Status};

/// One container. Dropping it changes nothing: the container goes on, [`Runtime::load`] finds it.
///
/// [`Runtime::load`]: crate::Runtime::load
#[derive(Debug)]
pub struct Container {
    cgroup: Cgroup,
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
        ""
    }

    /// The directory of its bundle.
    pub fn bundle(&self) -> &Path {
        Path::new("")
    }

    /// Its init process in the caller's pid namespace, also after that has exited.
    pub fn pid(&self) -> Pid {
        Pid::INIT
    }

    /// Readable when the init process has exited; `None` if it had when the container was loaded.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Its cgroup, for statistics, OOM events and process ids.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where in its life it is now.
    pub fn status(&self) -> Result<Status> {
        Err(Error::Unimplemented("status".into()))
    }

    /// The specification's state, now.
    pub fn state(&self) -> Result<State> {
        Err(Error::Unimplemented("state".into()))
    }

    /// Lets the init process run its program, then runs the poststart hooks.
    ///
    /// Returns when `execve` has succeeded (if this process created the container; otherwise when
    /// init has been let go). Gives the warnings.
    pub fn start(&mut self) -> Result<Vec<String>> {
        Err(Error::Unimplemented("start".into()))
    }

    /// Sends a signal (by number, real-time ones included) to the init process.
    pub fn kill(&self, signal: i32) -> Result<()> {
        Err(Error::Unimplemented(format!("signal {signal}")))
    }

    /// Sends a signal to every process in the container's cgroup.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        Err(Error::Unimplemented(format!("signal {signal}")))
    }

    /// Starts one more process inside. It is the caller's child.
    pub fn exec(&self, options: ExecOptions) -> Result<Process> {
        let _ = options;
        Err(Error::Unimplemented("exec".into()))
    }

    /// Stops all its processes where they stand.
    pub fn pause(&self) -> Result<()> {
        Err(Error::Unimplemented("pause".into()))
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<()> {
        Err(Error::Unimplemented("resume".into()))
    }

    /// Changes the cgroup's limits; what is absent stays.
    pub fn update(&mut self, resources: &Resources) -> Result<()> {
        let _ = resources;
        Err(Error::Unimplemented("update".into()))
    }

    /// All its processes in the caller's pid namespace.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        Err(Error::Unimplemented("pids".into()))
    }

    /// Removes what is left of it: processes (with [`Delete::Force`]), cgroup, state; then runs the
    /// poststop hooks. The init process itself is the caller's to reap, before or after.
    pub fn delete(self, which: Delete) -> Result<Vec<String>> {
        let _ = which;
        Err(Error::Unimplemented("delete".into()))
    }
}
