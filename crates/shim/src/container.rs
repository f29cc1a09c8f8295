//! Containers and their processes, as the shim knows them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::process::Pid;
use stowd_api::Timestamp;
use stowd_api::task::v3::StateResponse;
use stowd_api::types::task::Status;
use stowd_oci_runtime::Delete;
use stowd_oci_runtime::spec::Spec;

use crate::engine::{Engine, Handle};
use crate::failure::{Result, failed, not_found};
use crate::stdio::{Descendants, Places, Streams};

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) engine: Engine,
    /// The runtime's container; gone when deleting it failed half way.
    handle: Option<Handle>,
    /// Whether its other processes end with its init.
    pub(crate) descendants: Descendants,
    pub(crate) paused: bool,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
    /// How init ended, while processes that were started inside have not been told of yet.
    pub(crate) held: Option<Exit>,
}

/// One process: a container's init or an `exec`.
#[derive(Debug)]
pub(crate) struct Process {
    /// Empty for init.
    pub(crate) exec_id: String,
    pub(crate) places: Places,
    pub(crate) streams: Streams,
    pub(crate) phase: Phase,
    pub(crate) pid: Option<Pid>,
    /// Only of an `exec`; of init the runtime has it.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Who waits for its end.
    pub(crate) waiters: Vec<Caller>,
    /// What an `exec` is to run, in JSON.
    pub(crate) spec: Bytes,
}

/// Where in its life a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Exited(Exit),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 128 and the signal's number for one that was killed.
    pub(crate) status: u32,
    pub(crate) at: Timestamp,
}

/// Whom to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) connection: u32,
    pub(crate) stream: u32,
}

/// Go's zero time, which clients take for "not yet".
const NEVER: Timestamp = Timestamp { seconds: -62_135_596_800, nanos: 0 };

impl Container {
    pub(crate) fn new(
        id: String,
        bundle: PathBuf,
        engine: Engine,
        handle: Handle,
        descendants: Descendants,
        init: Process,
    ) -> Container {
        let (execs, handle) = (BTreeMap::new(), Some(handle));
        Container {
            id,
            bundle,
            engine,
            handle,
            descendants,
            paused: false,
            init,
            execs,
            held: None,
        }
    }

    pub(crate) fn handle(&self) -> Result<&Handle> {
        self.handle.as_ref().ok_or_else(|| failed("the container is being deleted"))
    }

    pub(crate) fn handle_mut(&mut self) -> Result<&mut Handle> {
        self.handle.as_mut().ok_or_else(|| failed("the container is being deleted"))
    }

    /// Deletes the runtime's container; after an attempt that failed, whatever is left of it.
    pub(crate) fn delete(&mut self) -> Result<Vec<String>> {
        let which = match self.descendants {
            Descendants::End => Delete::Stopped,
            Descendants::Remain => Delete::Force,
        };
        match self.handle.take() {
            Some(handle) => handle.delete(which),
            None => self.engine.remove(&self.id),
        }
    }

    /// Finds a process; an empty id means init.
    pub(crate) fn process(&self, exec_id: &str) -> Result<&Process> {
        match exec_id {
            "" => Ok(&self.init),
            _ => self.execs.get(exec_id).ok_or_else(|| no_process(exec_id)),
        }
    }

    /// Finds a process; an empty id means init.
    pub(crate) fn process_mut(&mut self, exec_id: &str) -> Result<&mut Process> {
        match exec_id {
            "" => Ok(&mut self.init),
            _ => self.execs.get_mut(exec_id).ok_or_else(|| no_process(exec_id)),
        }
    }

    /// Iterates over init and all others.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        std::iter::once(&mut self.init).chain(self.execs.values_mut())
    }

    /// Describes a process to clients.
    pub(crate) fn state(&self, process: &Process) -> StateResponse {
        let status = match process.phase {
            Phase::Created => Status::Created,
            Phase::Running if self.paused => Status::Paused,
            Phase::Running => Status::Running,
            Phase::Exited(_) => Status::Stopped,
        };
        let id = if process.exec_id.is_empty() { &self.id } else { &process.exec_id };
        let exit = process.exit();
        StateResponse {
            id: id.clone(),
            bundle: self.bundle.to_string_lossy().into_owned(),
            pid: process.pid_number(),
            status: status.into(),
            stdin: process.places.stdin.clone(),
            stdout: process.places.stdout.clone(),
            stderr: process.places.stderr.clone(),
            terminal: process.places.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: Some(exit.map_or(NEVER, |exit| exit.at)),
            exec_id: process.exec_id.clone(),
        }
    }
}

impl Process {
    pub(crate) fn new(exec_id: String, places: Places) -> Process {
        Process {
            exec_id,
            places,
            streams: Streams::default(),
            phase: Phase::Created,
            pid: None,
            pidfd: None,
            waiters: Vec::new(),
            spec: Bytes::new(),
        }
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            Phase::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Its pid as messages carry it; 0 while it has none.
    pub(crate) fn pid_number(&self) -> u32 {
        self.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
    }
}

/// Says whether a container's processes end with its init: those of a pid namespace of its own do.
pub(crate) fn descendants(spec: &Spec) -> Descendants {
    let namespaces = spec.linux.as_ref().map(|linux| &*linux.namespaces).unwrap_or_default();
    match namespaces.iter().any(|one| one.kind == "pid" && one.path.is_empty()) {
        true => Descendants::End,
        false => Descendants::Remain,
    }
}

fn no_process(exec_id: &str) -> stowd_api::rpc::Status {
    not_found(format_args!("process does not exist {exec_id}"))
}
