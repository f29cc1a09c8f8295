//! Container records.

use stowd_core::Error;
use stowd_core::containers::{Container, Runtime};

use super::time::{time, timestamp};
use crate::services::containers::v1;

impl From<Runtime> for v1::container::Runtime {
    fn from(runtime: Runtime) -> Self {
        Self { name: runtime.name, options: runtime.options.map(Into::into) }
    }
}

impl From<v1::container::Runtime> for Runtime {
    fn from(message: v1::container::Runtime) -> Self {
        Self { name: message.name, options: message.options.map(Into::into) }
    }
}

impl From<Container> for v1::Container {
    fn from(container: Container) -> Self {
        Self {
            id: container.id,
            labels: container.labels,
            image: container.image,
            runtime: Some(container.runtime.into()),
            spec: container.spec.map(Into::into),
            snapshotter: container.snapshotter,
            snapshot_key: container.snapshot_key,
            created_at: Some(timestamp(container.created)),
            updated_at: Some(timestamp(container.updated)),
            extensions: container.extensions.into_iter().map(|(k, any)| (k, any.into())).collect(),
            sandbox: container.sandbox_id,
        }
    }
}

impl TryFrom<v1::Container> for Container {
    type Error = Error;

    fn try_from(message: v1::Container) -> Result<Self, Error> {
        Ok(Self {
            id: message.id,
            labels: message.labels,
            image: message.image,
            runtime: message.runtime.map(Runtime::from).unwrap_or_default(),
            spec: message.spec.map(Into::into),
            snapshotter: message.snapshotter,
            snapshot_key: message.snapshot_key,
            extensions: message.extensions.into_iter().map(|(k, any)| (k, any.into())).collect(),
            sandbox_id: message.sandbox,
            created: time(message.created_at)?,
            updated: time(message.updated_at)?,
        })
    }
}
