//! Tasks and their processes.

use stowd_core::mount::Mount;
use stowd_core::tasks::{Create, Exec, Exit, Metric, Process, ProcessInfo, Reach, Status, Stdio};
use stowd_core::{Descriptor, Error, Result};

use super::required;
use super::time::{time, timestamp};
use crate::services::tasks::v1;
use crate::types;
use crate::types::task as wire;

/// Reads a process. The message has one id only, the exec's or for an init the container's, so the
/// caller says which container it asked for; for a list, where all are inits, it is the id.
///
/// # Errors
/// `InvalidArgument` when its time cannot be represented.
pub fn process(message: wire::Process, container_id: Option<&str>) -> Result<Process> {
    let status = Status::from(message.status());
    let container_id = container_id.unwrap_or(&message.id).to_owned();
    let exit = match status {
        Status::Stopped => Some(Exit {
            pid: message.pid,
            status: message.exit_status,
            at: time(message.exited_at)?,
        }),
        _ => None,
    };
    Ok(Process {
        exec_id: if message.id == container_id { String::new() } else { message.id },
        container_id,
        pid: message.pid,
        status,
        stdio: Stdio {
            stdin: message.stdin,
            stdout: message.stdout,
            stderr: message.stderr,
            terminal: message.terminal,
        },
        exit,
    })
}

impl From<Process> for wire::Process {
    /// Like containerd's, with the exec id or for an init the container id as id, and no container
    /// id.
    fn from(process: Process) -> Self {
        Self {
            container_id: String::new(),
            id: match process.exec_id.is_empty() {
                true => process.container_id,
                false => process.exec_id,
            },
            pid: process.pid,
            status: wire::Status::from(process.status).into(),
            stdin: process.stdio.stdin,
            stdout: process.stdio.stdout,
            stderr: process.stdio.stderr,
            terminal: process.stdio.terminal,
            exit_status: process.exit.map_or(0, |exit| exit.status),
            exited_at: process.exit.map(|exit| timestamp(exit.at)),
        }
    }
}

impl From<wire::Status> for Status {
    fn from(status: wire::Status) -> Self {
        match status {
            wire::Status::Unknown => Self::Unknown,
            wire::Status::Created => Self::Created,
            wire::Status::Running => Self::Running,
            wire::Status::Stopped => Self::Stopped,
            wire::Status::Paused => Self::Paused,
            wire::Status::Pausing => Self::Pausing,
        }
    }
}

impl From<Status> for wire::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Unknown => Self::Unknown,
            Status::Created => Self::Created,
            Status::Running => Self::Running,
            Status::Stopped => Self::Stopped,
            Status::Paused => Self::Paused,
            Status::Pausing => Self::Pausing,
        }
    }
}

impl TryFrom<v1::CreateTaskRequest> for Create {
    type Error = Error;

    fn try_from(message: v1::CreateTaskRequest) -> Result<Self> {
        Ok(Self {
            container_id: message.container_id,
            rootfs: message.rootfs.into_iter().map(Mount::from).collect(),
            stdio: Stdio {
                stdin: message.stdin,
                stdout: message.stdout,
                stderr: message.stderr,
                terminal: message.terminal,
            },
            checkpoint: message.checkpoint.map(Descriptor::try_from).transpose()?,
            options: message.options.map(Into::into),
            runtime_path: message.runtime_path,
            sandbox_address: message.task_api_address,
            sandbox_version: message.task_api_version,
        })
    }
}

impl From<Create> for v1::CreateTaskRequest {
    fn from(create: Create) -> Self {
        Self {
            container_id: create.container_id,
            rootfs: create.rootfs.into_iter().map(types::Mount::from).collect(),
            stdin: create.stdio.stdin,
            stdout: create.stdio.stdout,
            stderr: create.stdio.stderr,
            terminal: create.stdio.terminal,
            checkpoint: create.checkpoint.map(types::Descriptor::from),
            options: create.options.map(Into::into),
            runtime_path: create.runtime_path,
            task_api_address: create.sandbox_address,
            task_api_version: create.sandbox_version,
        }
    }
}

impl From<v1::ExecProcessRequest> for Exec {
    fn from(message: v1::ExecProcessRequest) -> Self {
        Self {
            container_id: message.container_id,
            exec_id: message.exec_id,
            stdio: Stdio {
                stdin: message.stdin,
                stdout: message.stdout,
                stderr: message.stderr,
                terminal: message.terminal,
            },
            spec: message.spec.map(Into::into),
        }
    }
}

impl From<Exec> for v1::ExecProcessRequest {
    fn from(exec: Exec) -> Self {
        Self {
            container_id: exec.container_id,
            stdin: exec.stdio.stdin,
            stdout: exec.stdio.stdout,
            stderr: exec.stdio.stderr,
            terminal: exec.stdio.terminal,
            spec: exec.spec.map(Into::into),
            exec_id: exec.exec_id,
        }
    }
}

/// Makes the answer to a delete; `exec_id` is empty for a task.
pub fn delete_response(exit: Exit, exec_id: impl Into<String>) -> v1::DeleteResponse {
    v1::DeleteResponse {
        id: exec_id.into(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)),
    }
}

impl TryFrom<v1::DeleteResponse> for Exit {
    type Error = Error;

    fn try_from(message: v1::DeleteResponse) -> Result<Self> {
        Ok(Self { pid: message.pid, status: message.exit_status, at: time(message.exited_at)? })
    }
}

impl From<Exit> for v1::WaitResponse {
    /// Without the pid, which the message has no place for.
    fn from(exit: Exit) -> Self {
        Self { exit_status: exit.status, exited_at: Some(timestamp(exit.at)) }
    }
}

impl TryFrom<v1::WaitResponse> for Exit {
    type Error = Error;

    /// The pid is 0: the message does not say it.
    fn try_from(message: v1::WaitResponse) -> Result<Self> {
        Ok(Self { pid: 0, status: message.exit_status, at: time(message.exited_at)? })
    }
}

impl From<ProcessInfo> for wire::ProcessInfo {
    fn from(info: ProcessInfo) -> Self {
        Self { pid: info.pid, info: info.info.map(Into::into) }
    }
}

impl From<wire::ProcessInfo> for ProcessInfo {
    fn from(message: wire::ProcessInfo) -> Self {
        Self { pid: message.pid, info: message.info.map(Into::into) }
    }
}

impl From<Metric> for types::Metric {
    fn from(metric: Metric) -> Self {
        Self {
            timestamp: Some(timestamp(metric.at)),
            id: metric.id,
            data: Some(metric.data.into()),
        }
    }
}

impl TryFrom<types::Metric> for Metric {
    type Error = Error;

    fn try_from(message: types::Metric) -> Result<Self> {
        Ok(Self {
            id: message.id,
            at: time(message.timestamp)?,
            data: required(message.data, "metric data")?.into(),
        })
    }
}

/// Reads whom a signal is for.
pub fn reach(message: &v1::KillRequest) -> Reach {
    if message.all { Reach::All } else { Reach::Process }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_goes_by_its_container() {
        let init = Process {
            container_id: "c".into(),
            exec_id: String::new(),
            pid: 7,
            status: Status::Running,
            stdio: Stdio::default(),
            exit: None,
        };
        let message = wire::Process::from(init.clone());
        assert_eq!((&*message.id, message.exited_at), ("c", None));
        assert_eq!(process(message, None).unwrap(), init);
        let exec = Process { exec_id: "e".into(), ..init };
        let message = wire::Process::from(exec.clone());
        assert_eq!(message.id, "e");
        assert_eq!(process(message, Some("c")).unwrap(), exec);
    }
}
