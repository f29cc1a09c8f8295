//! One more process in a running container.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use stowd_sys::clone::Namespaces;

use crate::Container;
use crate::error::{Error, Result};
use crate::launch::{Attend, Birth, launch, set_limits};
use crate::options::{ExecOptions, Process};
use crate::plan::Plan;
use crate::plan::namespaces::{Join, KINDS};
use crate::plan::process::ProcessPlan;
use crate::plan::seccomp::Program;
use crate::plan::streams::Streams;
use crate::spec::Capabilities;

/// Starts a process in the namespaces and the cgroup of a container's first one.
pub(crate) fn exec(container: &Container, options: ExecOptions) -> Result<Process> {
    let Some(pidfd) = &container.pidfd else {
        return Err(Error::NotRunning { id: container.id().into() });
    };
    let config = &container.saved.config;
    let asked = &options.process;
    let mut warnings = Vec::new();
    let size = asked.console_size.map(|size| (size.height, size.width));
    let streams = Streams::new(options.stdio, options.extra_fds, asked.terminal, size)?;
    let fallback = config.capabilities.as_ref().map(Capabilities::from);
    let mut process = ProcessPlan::new(asked, fallback.as_ref(), &mut warnings)?;
    process.oom_score_adj = process.oom_score_adj.or(config.oom_score_adj);
    if let (None, Some(umask)) = (asked.user.umask, config.umask) {
        process.umask = umask;
    }
    process.seccomp = filter(container)?;
    if asked.exec_cpu_affinity.is_some() {
        return Err(Error::Unimplemented("process.execCPUAffinity".into()));
    }
    let mut kinds = Namespaces::NONE;
    let mut has_pid = false;
    for one in &config.namespaces {
        match KINDS.iter().find(|(_, _, name, _)| *name == one.kind) {
            Some((_, Namespaces::PID, ..)) => has_pid = true,
            Some((_, kind, ..)) => kinds = kinds | *kind,
            None => {}
        }
    }
    let fd = pidfd.try_clone().map_err(|e| Error::file("dup", "pidfd".as_ref(), e))?;
    let join = Join { fd, kind: kinds, path: format!("/proc/{}/ns", container.pid) };
    let joiner = container.cgroup.joiner_beside(container.pid);
    let plan = Plan {
        joiner: joiner.map_err(Error::cgroup("open cgroup"))?,
        joins: if kinds.is_empty() { Vec::new() } else { vec![join] },
        user_namespace: kinds.contains(Namespaces::USER),
        streams,
        process,
        init: None,
    };
    let birth = Birth { new: Namespaces::NONE, pid: has_pid.then(|| pidfd.as_fd()), user: None };
    let mut attend = Limits { process: &plan.process, warnings: &mut warnings };
    let launched = launch(&plan, &birth, &mut attend).map_err(|error| match error.errno() {
        // A pid namespace without its first process takes no more.
        Some(Errno::NOMEM) if !container_runs(pidfd.as_fd()) => {
            Error::NotRunning { id: container.id().into() }
        }
        _ => error,
    })?;
    Ok(Process { pid: launched.pid, pidfd: launched.pidfd, console: launched.console, warnings })
}

struct Limits<'a> {
    process: &'a ProcessPlan,
    warnings: &'a mut Vec<String>,
}

impl Attend for Limits<'_> {
    fn maps(&mut self, _pid: Pid) -> Result<()> {
        Ok(())
    }

    fn ready(&mut self, pid: Pid, _pidfd: BorrowedFd<'_>) -> Result<()> {
        set_limits(self.process, pid, self.warnings)
    }
}

/// The container's filter, as its creation compiled it.
fn filter(container: &Container) -> Result<Option<Program>> {
    let path = container.dir.join("seccomp.bpf");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", &path, error)),
    };
    let Some((flags, code)) = bytes.split_first_chunk() else {
        return Err(Error::file("read", &path, Errno::INVAL));
    };
    Ok(Some(Program { flags: u32::from_ne_bytes(*flags), code: code.to_vec() }))
}

fn container_runs(pidfd: BorrowedFd<'_>) -> bool {
    stowd_sys::signal::send(pidfd, 0).is_ok()
}
