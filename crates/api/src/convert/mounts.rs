//! Activations of mounts.

use stowd_core::Error;
use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, ActiveMount};

use super::time::{optional_time, timestamp};
use crate::types;

impl From<ActiveMount> for types::ActiveMount {
    fn from(made: ActiveMount) -> Self {
        Self {
            mount: Some(made.mount.into()),
            mounted_at: made.mounted.map(timestamp),
            mount_point: made.point,
            data: made.data,
        }
    }
}

impl TryFrom<types::ActiveMount> for ActiveMount {
    type Error = Error;

    fn try_from(message: types::ActiveMount) -> Result<Self, Error> {
        Ok(Self {
            mount: message.mount.map(Mount::from).unwrap_or_default(),
            mounted: optional_time(message.mounted_at)?,
            point: message.mount_point,
            data: message.data,
        })
    }
}

impl From<Activation> for types::ActivationInfo {
    fn from(activation: Activation) -> Self {
        Self {
            name: activation.name,
            active: activation.active.into_iter().map(Into::into).collect(),
            system: activation.system.into_iter().map(Into::into).collect(),
            labels: activation.labels,
        }
    }
}

impl TryFrom<types::ActivationInfo> for Activation {
    type Error = Error;

    fn try_from(message: types::ActivationInfo) -> Result<Self, Error> {
        Ok(Self {
            name: message.name,
            active: message.active.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            system: message.system.into_iter().map(Into::into).collect(),
            labels: message.labels,
        })
    }
}
