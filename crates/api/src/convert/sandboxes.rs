//! Sandbox records, and instances as controllers tell of them.

use stowd_core::containers::Runtime;
use stowd_core::sandboxes::{Create, Exit, Instance, Sandbox, Status};
use stowd_core::{Error, Result};

use super::time::{optional_time, time, timestamp};
use crate::services::sandbox::v1;
use crate::types;

impl From<Sandbox> for types::Sandbox {
    fn from(sandbox: Sandbox) -> Self {
        let runtime = types::sandbox::Runtime {
            name: sandbox.runtime.name,
            options: sandbox.runtime.options.map(Into::into),
        };
        Self {
            sandbox_id: sandbox.id,
            runtime: Some(runtime),
            spec: sandbox.spec.map(Into::into),
            labels: sandbox.labels,
            created_at: Some(timestamp(sandbox.created)),
            updated_at: Some(timestamp(sandbox.updated)),
            extensions: sandbox.extensions.into_iter().map(|(k, any)| (k, any.into())).collect(),
            sandboxer: sandbox.sandboxer,
        }
    }
}

impl TryFrom<types::Sandbox> for Sandbox {
    type Error = Error;

    fn try_from(message: types::Sandbox) -> Result<Self> {
        let runtime = message.runtime.unwrap_or_default();
        Ok(Self {
            id: message.sandbox_id,
            labels: message.labels,
            runtime: Runtime { name: runtime.name, options: runtime.options.map(Into::into) },
            spec: message.spec.map(Into::into),
            sandboxer: message.sandboxer,
            extensions: message.extensions.into_iter().map(|(k, any)| (k, any.into())).collect(),
            created: time(message.created_at)?,
            updated: time(message.updated_at)?,
        })
    }
}

/// Makes the request to create an instance.
pub fn create(sandboxer: &str, sandbox: Sandbox, create: Create) -> v1::ControllerCreateRequest {
    v1::ControllerCreateRequest {
        sandbox_id: sandbox.id.clone(),
        rootfs: create.rootfs.into_iter().map(Into::into).collect(),
        options: create.options.map(Into::into),
        netns_path: create.netns_path,
        annotations: create.annotations,
        sandbox: Some(sandbox.into()),
        sandboxer: sandboxer.to_owned(),
    }
}

/// Reads the request to create an instance. Older clients send only the id, not the record.
///
/// # Errors
/// `InvalidArgument` when the record makes no sense.
pub fn created(message: v1::ControllerCreateRequest) -> Result<(Sandbox, Create)> {
    let record = message.sandbox.unwrap_or_else(|| types::Sandbox {
        sandbox_id: message.sandbox_id,
        ..types::Sandbox::default()
    });
    let create = Create {
        rootfs: message.rootfs.into_iter().map(Into::into).collect(),
        options: message.options.map(Into::into),
        netns_path: message.netns_path,
        annotations: message.annotations,
    };
    Ok((record.try_into()?, create))
}

/// Makes the answer to a start.
pub fn started(id: String, instance: Instance) -> v1::ControllerStartResponse {
    v1::ControllerStartResponse {
        sandbox_id: id,
        pid: instance.pid,
        created_at: Some(timestamp(instance.created)),
        labels: instance.labels,
        address: instance.address,
        version: instance.version,
        spec: instance.spec.map(Into::into),
    }
}

impl TryFrom<v1::ControllerStartResponse> for Instance {
    type Error = Error;

    fn try_from(message: v1::ControllerStartResponse) -> Result<Self> {
        Ok(Self {
            pid: message.pid,
            created: time(message.created_at)?,
            labels: message.labels,
            address: message.address,
            version: message.version,
            spec: message.spec.map(Into::into),
        })
    }
}

impl From<Exit> for v1::ControllerWaitResponse {
    fn from(exit: Exit) -> Self {
        Self { exit_status: exit.status, exited_at: Some(timestamp(exit.at)) }
    }
}

impl TryFrom<v1::ControllerWaitResponse> for Exit {
    type Error = Error;

    fn try_from(message: v1::ControllerWaitResponse) -> Result<Self> {
        Ok(Self { status: message.exit_status, at: time(message.exited_at)? })
    }
}

/// Makes the answer to a question for the status. `extra` is never absent, as with containerd.
pub fn status(id: String, status: Status) -> v1::ControllerStatusResponse {
    v1::ControllerStatusResponse {
        sandbox_id: id,
        pid: status.pid,
        state: status.state,
        info: status.info,
        created_at: status.created.map(timestamp),
        exited_at: status.exited.map(timestamp),
        extra: Some(status.extra.unwrap_or_default().into()),
        address: status.address,
        version: status.version,
    }
}

impl TryFrom<v1::ControllerStatusResponse> for Status {
    type Error = Error;

    fn try_from(message: v1::ControllerStatusResponse) -> Result<Self> {
        let extra = message.extra.filter(|any| !any.type_url.is_empty() || !any.value.is_empty());
        Ok(Self {
            pid: message.pid,
            state: message.state,
            info: message.info,
            created: optional_time(message.created_at)?,
            exited: optional_time(message.exited_at)?,
            extra: extra.map(Into::into),
            address: message.address,
            version: message.version,
        })
    }
}
