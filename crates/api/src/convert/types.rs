//! Descriptors, mounts, platforms.

use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Error, Platform};

use super::{signed, unsigned};
use crate::types;

impl From<Descriptor> for types::Descriptor {
    /// Leaves behind what the message has no place for: URLs, embedded data, platform and artifact
    /// type.
    fn from(descriptor: Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type,
            digest: descriptor.digest.into(),
            size: signed(descriptor.size),
            annotations: descriptor.annotations,
        }
    }
}

impl TryFrom<types::Descriptor> for Descriptor {
    type Error = Error;

    fn try_from(message: types::Descriptor) -> Result<Self, Error> {
        let size = unsigned(message.size, "size")?;
        let mut descriptor = Self::new(message.media_type, message.digest.parse()?, size);
        descriptor.annotations = message.annotations;
        Ok(descriptor)
    }
}

impl From<Mount> for types::Mount {
    fn from(mount: Mount) -> Self {
        Self {
            r#type: mount.kind,
            source: mount.source,
            target: mount.target,
            options: mount.options,
        }
    }
}

impl From<types::Mount> for Mount {
    fn from(message: types::Mount) -> Self {
        Self {
            kind: message.r#type,
            source: message.source,
            target: message.target,
            options: message.options,
        }
    }
}

impl From<Platform> for types::Platform {
    fn from(platform: Platform) -> Self {
        Self {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            os_version: platform.os_version,
            os_features: platform.os_features,
        }
    }
}

impl From<types::Platform> for Platform {
    fn from(message: types::Platform) -> Self {
        Self {
            architecture: message.architecture,
            os: message.os,
            os_version: message.os_version,
            os_features: message.os_features,
            variant: message.variant,
        }
    }
}
