//! Shims, spoken to without the daemon: for looking at and ending what a daemon has lost.

use std::path::{Path, PathBuf};

use serde::Serialize;
use stowd_api::Any;
use stowd_api::status::from_ttrpc;
use stowd_api::task::{v2, v3};
use stowd_api::ttrpc;
use stowd_core::{Digest, Error, Result};
use tokio::net::UnixStream;

use crate::process::PROCESS_TYPE;

/// Where containerd's shims listen.
const SOCKETS: &str = "/run/containerd/s";

/// Takes a state from the message of either version.
macro_rules! shown {
    ($said:ident) => {
        ShimState {
            id: $said.id,
            bundle: $said.bundle,
            pid: $said.pid,
            status: $said.status,
            stdin: $said.stdin,
            stdout: $said.stdout,
            stderr: $said.stderr,
            terminal: $said.terminal,
            exit_status: $said.exit_status,
            exited_at: $said.exited_at.map(|at| ShimTime { seconds: at.seconds, nanos: at.nanos }),
            exec_id: $said.exec_id,
        }
    };
}
/// A connection to a shim.
///
/// Its errors are the shim's own.
#[derive(Clone, Debug)]
pub struct Shim {
    client: ttrpc::Client,
}

/// The version of the task service that a shim is asked in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShimVersion {
    /// `containerd.task.v2`.
    V2,
    /// `containerd.task.v3`.
    #[default]
    V3,
}

/// What a shim says of a task, in the form and under the names of its message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShimState {
    /// The task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its bundle's folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bundle: String,
    /// Its init's pid.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: u32,
    /// What it is doing: 1 is created, 2 running, 3 stopped, 4 paused, 5 pausing.
    #[serde(skip_serializing_if = "is_nothing")]
    pub status: i32,
    /// Where its input comes from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    /// Where its output goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Where its errors go.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// It has a terminal.
    #[serde(skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// How it ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub exit_status: u32,
    /// When it ended; containerd's shims say year 1 of one that has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exited_at: Option<ShimTime>,
    /// The process, where it is not the init.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exec_id: String,
}

/// A point in time, as the message has it: since 1970, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShimTime {
    /// Whole seconds.
    #[serde(skip_serializing_if = "is_never")]
    pub seconds: i64,
    /// The rest.
    #[serde(skip_serializing_if = "is_nothing")]
    pub nanos: i32,
}

/// A process to be made in a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimExec {
    /// The task.
    pub id: String,
    /// The process's name.
    pub exec_id: String,
    /// The JSON of an OCI process.
    pub spec: Vec<u8>,
    /// Fifos for its streams; empty for none.
    pub stdin: String,
    /// As above.
    pub stdout: String,
    /// As above.
    pub stderr: String,
    /// It gets a terminal.
    pub terminal: bool,
}

impl Shim {
    /// Returns where the shim of a container may listen whose daemon has this address.
    pub fn addresses(daemon: &Path, namespace: &str, id: &str) -> Vec<PathBuf> {
        let named = daemon.join(namespace).join(id);
        let name = Digest::of(named.as_os_str().as_encoded_bytes());
        // A daemon with a state folder of its own mostly has its socket there as well.
        let beside = daemon.parent().map(|state| state.join("s"));
        let folders = std::iter::once(PathBuf::from(SOCKETS)).chain(beside);
        let mut all: Vec<PathBuf> = folders.map(|folder| folder.join(name.hex())).collect();
        all.dedup();
        all
    }

    /// Connects with a shim at its socket.
    ///
    /// # Errors
    /// `Unavailable` when nobody listens there.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            Error::unavailable(format_args!("connect to {}: {error}", socket.display()))
        })?;
        Ok(Self { client: ttrpc::Client::new(stream) })
    }

    /// Asks for a task's state.
    ///
    /// # Errors
    /// `NotFound` when the shim does not have it, `NotImplemented` for a version that it does not
    /// speak.
    pub async fn state(&self, id: &str, version: ShimVersion) -> Result<ShimState> {
        let id = id.to_owned();
        let exec_id = String::new();
        Ok(match version {
            ShimVersion::V3 => {
                let request = v3::StateRequest { id, exec_id };
                let said: v3::StateResponse = self.call("State", &request).await?;
                shown!(said)
            }
            ShimVersion::V2 => {
                let request = v2::StateRequest { id, exec_id };
                let said: v2::StateResponse = self.call_v2("State", &request).await?;
                shown!(said)
            }
        })
    }

    /// Starts a task, or with an exec id one of its processes; returns the pid.
    ///
    /// # Errors
    /// Those of the shim.
    pub async fn start(&self, id: &str, exec_id: &str) -> Result<u32> {
        let request = v3::StartRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
        let said: v3::StartResponse = self.call("Start", &request).await?;
        Ok(said.pid)
    }

    /// Deletes a task that has ended; returns its exit status.
    ///
    /// # Errors
    /// Those of the shim.
    pub async fn delete(&self, id: &str) -> Result<u32> {
        let request = v3::DeleteRequest { id: id.to_owned(), exec_id: String::new() };
        let said: v3::DeleteResponse = self.call("Delete", &request).await?;
        Ok(said.exit_status)
    }

    /// Makes a further process in a task, to be started.
    ///
    /// # Errors
    /// Those of the shim.
    pub async fn exec(&self, exec: ShimExec) -> Result<()> {
        let request = v3::ExecProcessRequest {
            id: exec.id,
            exec_id: exec.exec_id,
            terminal: exec.terminal,
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            spec: Some(Any { type_url: PROCESS_TYPE.to_owned(), value: exec.spec.into() }),
        };
        self.call("Exec", &request).await
    }

    /// Sets the size of a process's terminal, in characters.
    ///
    /// # Errors
    /// Those of the shim.
    pub async fn resize(&self, id: &str, exec_id: &str, width: u32, height: u32) -> Result<()> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.call("ResizePty", &v3::ResizePtyRequest { id, exec_id, width, height }).await
    }

    /// Ends the shim, if it has no task.
    ///
    /// # Errors
    /// Those of the shim.
    pub async fn shutdown(&self, version: ShimVersion) -> Result<()> {
        let ended: Result<()> = match version {
            ShimVersion::V3 => self.call("Shutdown", &v3::ShutdownRequest::default()).await,
            ShimVersion::V2 => self.call_v2("Shutdown", &v2::ShutdownRequest::default()).await,
        };
        match ended {
            // It may be gone before its answer is here.
            Err(_) if self.client.is_closed() => Ok(()),
            ended => ended,
        }
    }

    async fn call<R: stowd_api::Message + Default>(
        &self,
        method: &str,
        request: &impl stowd_api::Message,
    ) -> Result<R> {
        let service = "containerd.task.v3.Task";
        self.client.call(service, method, request, None).await.map_err(|it| from_ttrpc(&it))
    }

    async fn call_v2<R: stowd_api::Message + Default>(
        &self,
        method: &str,
        request: &impl stowd_api::Message,
    ) -> Result<R> {
        let service = "containerd.task.v2.Task";
        self.client.call(service, method, request, None).await.map_err(|it| from_ttrpc(&it))
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_nothing(number: &i32) -> bool {
    *number == 0
}

fn is_never(number: &i64) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_as_containerd_does() {
        let daemon = Path::new("/tmp/cd2/d.sock");
        let name = "14be69084e67c98783fd51cdc27de827447ca0544c4f2360d56a4fc892b8e77d";
        assert_eq!(
            Shim::addresses(daemon, "default", "x"),
            [Path::new(SOCKETS).join(name), Path::new("/tmp/cd2/s").join(name)]
        );
    }
}
