//! What runs containers: the linked runtime or, where the options name one, a program with runc's
//! command line ([`crate::program`]). Errors come with containerd's texts.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, Signal};
use stowd_cgroups::Cgroup;
use stowd_oci_runtime::spec::{Process as ProcessSpec, Resources, Spec};
use stowd_oci_runtime::{
    Container, CreateOptions, Delete, Error, ErrorKind, ExecOptions, Runtime, Stdio,
};

use crate::failure::{Result, failed, invalid, kill, not_found, runtime};
use crate::options::Options;
use crate::program::{Program, ProgramContainer};

/// A runtime.
#[derive(Clone, Debug)]
pub(crate) enum Engine {
    Linked(Runtime),
    Program(Program),
}

/// A container of a runtime's.
#[derive(Debug)]
pub(crate) enum Handle {
    Linked(Box<Container>),
    Program(ProgramContainer),
}

/// A process that was just made.
#[derive(Debug)]
pub(crate) struct Made<T> {
    pub(crate) made: T,
    pub(crate) console: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

/// A running process's id and handle.
pub(crate) type Executed = Made<(Pid, OwnedFd)>;

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Init,
    Everyone,
}

const CREATE: &str = "OCI runtime create failed: runc create failed";

impl Engine {
    /// Creates a container. Nothing is left when it fails.
    pub(crate) fn create(
        &self,
        id: &str,
        bundle: &Path,
        spec: Spec,
        stdio: Stdio,
        options: &Options,
    ) -> Result<Made<Handle>> {
        match self {
            Engine::Linked(linked) => {
                let mut asked = CreateOptions::new(id, bundle);
                asked.spec = Some(spec);
                asked.stdio = stdio;
                asked.root_switch = options.root_switch();
                asked.keyring = options.keyring();
                let created = linked.create(asked).map_err(|error| runtime(CREATE, &error))?;
                let made = Handle::Linked(Box::new(created.container));
                Ok(Made { made, console: created.console, warnings: created.warnings })
            }
            Engine::Program(program) => {
                let (made, console) = program.create(id, bundle, &spec, stdio, options)?;
                Ok(Made { made: Handle::Program(made), console, warnings: Vec::new() })
            }
        }
    }

    /// Finds a container again and removes it, whatever state it is in.
    pub(crate) fn remove(&self, id: &str) -> Result<Vec<String>> {
        match self {
            Engine::Linked(linked) => match linked.load(id) {
                Ok(container) => Handle::Linked(Box::new(container)).delete(Delete::Force),
                Err(Error::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(runtime("failed to delete task", &error)),
            },
            Engine::Program(program) => program.delete(id, Delete::Force),
        }
    }
}

impl Handle {
    pub(crate) fn pid(&self) -> Pid {
        match self {
            Handle::Linked(container) => container.pid(),
            Handle::Program(container) => container.pid,
        }
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        match self {
            Handle::Linked(container) => container.cgroup(),
            Handle::Program(container) => &container.cgroup,
        }
    }

    pub(crate) fn start(&mut self) -> Result<Vec<String>> {
        const ACT: &str = "OCI runtime start failed";
        match self {
            Handle::Linked(container) => container.start().map_err(|error| runtime(ACT, &error)),
            Handle::Program(container) => container.run(ACT, &["start"]).map(|()| Vec::new()),
        }
    }

    pub(crate) fn kill(&self, signal: i32, whom: Whom) -> Result<()> {
        match (self, whom) {
            (Handle::Linked(container), Whom::Init) => {
                container.kill(signal).map_err(|error| kill(&error))
            }
            (Handle::Linked(container), Whom::Everyone) => {
                container.kill_all(signal).map_err(|error| kill(&error))
            }
            (Handle::Program(container), Whom::Init) => {
                if signal == Signal::KILL.as_raw() {
                    // One that stands still on v1 dies only when it goes on.
                    let _ = container.cgroup.thaw();
                }
                match stowd_sys::signal::send(&container.pidfd, signal) {
                    Ok(()) => Ok(()),
                    Err(rustix::io::Errno::SRCH) => Err(not_found("process already finished")),
                    Err(error) => Err(failed(format_args!("unknown error after kill: {error}"))),
                }
            }
            (Handle::Program(container), Whom::Everyone) => {
                let signal =
                    Signal::from_named_raw(signal).ok_or_else(|| invalid("no such signal"))?;
                container.cgroup.signal(signal).map_err(failed)
            }
        }
    }

    /// Starts one more process; `spec` is its JSON.
    pub(crate) fn exec(&self, spec: &[u8], terminal: Terminal, stdio: Stdio) -> Result<Executed> {
        match self {
            Handle::Linked(container) => {
                let mut process = ProcessSpec::parse(spec).map_err(|error| invalid(&error))?;
                process.terminal = terminal == Terminal::New;
                let mut options = ExecOptions::new(process);
                options.stdio = stdio;
                let process = container
                    .exec(options)
                    .map_err(|error| runtime("OCI runtime exec failed: exec failed", &error))?;
                let made = (process.pid, process.pidfd);
                Ok(Made { made, console: process.console, warnings: process.warnings })
            }
            Handle::Program(container) => container.exec(spec, terminal, stdio),
        }
    }

    pub(crate) fn pause(&self) -> Result<()> {
        const ACT: &str = "OCI runtime pause failed";
        match self {
            Handle::Linked(container) => container.pause().map_err(|error| runtime(ACT, &error)),
            Handle::Program(container) => container.run(ACT, &["pause"]),
        }
    }

    pub(crate) fn resume(&self) -> Result<()> {
        const ACT: &str = "OCI runtime resume failed";
        match self {
            Handle::Linked(container) => container.resume().map_err(|error| runtime(ACT, &error)),
            Handle::Program(container) => container.run(ACT, &["resume"]),
        }
    }

    /// Changes limits; `resources` is their JSON.
    pub(crate) fn update(&mut self, resources: &[u8]) -> Result<()> {
        const ACT: &str = "OCI runtime update failed";
        match self {
            Handle::Linked(container) => {
                let resources: Resources = serde_json::from_slice(resources)
                    .map_err(|error| invalid(format_args!("read resources: {error}")))?;
                container.update(&resources).map_err(|error| runtime(ACT, &error))
            }
            Handle::Program(container) => container.update(ACT, resources),
        }
    }

    pub(crate) fn pids(&self) -> Result<Vec<Pid>> {
        match self {
            Handle::Linked(container) => container.pids().map_err(failed),
            Handle::Program(container) => container.cgroup.all_pids().map_err(failed),
        }
    }

    pub(crate) fn delete(self, which: Delete) -> Result<Vec<String>> {
        match self {
            Handle::Linked(container) => match container.delete(which) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                done => done.map_err(|error| runtime("failed to delete task", &error)),
            },
            Handle::Program(container) => container.program.delete(&container.id, which),
        }
    }
}

/// Whether a process gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    New,
    None,
}
