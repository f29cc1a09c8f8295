//! Sources and destinations of transfers, as far as they are data; streams that they name are the
//! service's to open.

use stowd_core::progress::Progress;
use stowd_core::transfer::{Export, NameRule, RegistryRef, Store, Unpack};
use stowd_core::{Descriptor, Error, Platform};

use super::{signed, unsigned};
use crate::types;
use crate::types::transfer as wire;

impl From<NameRule> for wire::ImageReference {
    fn from(rule: NameRule) -> Self {
        Self {
            name: rule.name,
            is_prefix: rule.is_prefix,
            allow_overwrite: rule.allow_overwrite,
            add_digest: rule.add_digest,
            skip_named_digest: rule.skip_named_digest,
        }
    }
}

impl From<wire::ImageReference> for NameRule {
    fn from(message: wire::ImageReference) -> Self {
        Self {
            name: message.name,
            is_prefix: message.is_prefix,
            allow_overwrite: message.allow_overwrite,
            add_digest: message.add_digest,
            skip_named_digest: message.skip_named_digest,
        }
    }
}

impl From<Unpack> for wire::UnpackConfiguration {
    fn from(unpack: Unpack) -> Self {
        Self {
            platform: unpack.platform.map(types::Platform::from),
            snapshotter: unpack.snapshotter,
        }
    }
}

impl From<wire::UnpackConfiguration> for Unpack {
    fn from(message: wire::UnpackConfiguration) -> Self {
        Self { platform: message.platform.map(Platform::from), snapshotter: message.snapshotter }
    }
}

impl From<Store> for wire::ImageStore {
    fn from(store: Store) -> Self {
        Self {
            name: store.name,
            labels: store.labels,
            platforms: store.platforms.into_iter().map(types::Platform::from).collect(),
            all_metadata: store.all_metadata,
            manifest_limit: u32::try_from(store.manifest_limit).unwrap_or(u32::MAX),
            extra_references: store.extra_names.into_iter().map(Into::into).collect(),
            unpacks: store.unpack.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wire::ImageStore> for Store {
    fn from(message: wire::ImageStore) -> Self {
        Self {
            name: message.name,
            labels: message.labels,
            platforms: message.platforms.into_iter().map(Platform::from).collect(),
            all_metadata: message.all_metadata,
            manifest_limit: message.manifest_limit as usize,
            extra_names: message.extra_references.into_iter().map(Into::into).collect(),
            unpack: message.unpacks.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wire::OciRegistry> for RegistryRef {
    /// Without credentials: those are asked for on the stream that the message names.
    fn from(message: wire::OciRegistry) -> Self {
        let resolver = message.resolver.unwrap_or_default();
        Self {
            reference: message.reference,
            config_path: resolver.host_dir,
            headers: resolver.headers.into_iter().collect(),
            plain_http: resolver.default_scheme == "http",
            ..Self::default()
        }
    }
}

/// Makes the message for a registry; `auth_stream` is empty when there are no credentials to ask
/// for. What the message has no place for (skipping a certificate's check) stays behind.
pub fn registry(registry: &RegistryRef, auth_stream: &str) -> wire::OciRegistry {
    wire::OciRegistry {
        reference: registry.reference.clone(),
        resolver: Some(wire::RegistryResolver {
            auth_stream: auth_stream.to_owned(),
            headers: registry.headers.iter().cloned().collect(),
            host_dir: registry.config_path.clone(),
            default_scheme: if registry.plain_http { "http" } else { "" }.to_owned(),
            ..Default::default()
        }),
    }
}

/// Makes the message for an archive to export, sent on `stream`.
pub fn export_stream(export: Export, stream: &str) -> wire::ImageExportStream {
    wire::ImageExportStream {
        stream: stream.to_owned(),
        media_type: export.media_type,
        platforms: export.platforms.into_iter().map(types::Platform::from).collect(),
        all_platforms: export.all_platforms,
        skip_compatibility_manifest: export.skip_compatibility_manifest,
        skip_non_distributable: export.skip_non_distributable,
    }
}

impl From<wire::ImageExportStream> for Export {
    fn from(message: wire::ImageExportStream) -> Self {
        Self {
            media_type: message.media_type,
            platforms: message.platforms.into_iter().map(Platform::from).collect(),
            all_platforms: message.all_platforms,
            skip_compatibility_manifest: message.skip_compatibility_manifest,
            skip_non_distributable: message.skip_non_distributable,
        }
    }
}

impl From<Progress> for wire::Progress {
    fn from(progress: Progress) -> Self {
        Self {
            event: progress.event,
            name: progress.name,
            parents: progress.parents,
            progress: signed(progress.progress),
            total: signed(progress.total),
            desc: progress.descriptor.map(types::Descriptor::from),
        }
    }
}

impl TryFrom<wire::Progress> for Progress {
    type Error = Error;

    fn try_from(message: wire::Progress) -> Result<Self, Error> {
        // Progress of the whole job carries an empty descriptor.
        let descriptor = message.desc.filter(|descriptor| !descriptor.digest.is_empty());
        Ok(Self {
            event: message.event,
            name: message.name,
            parents: message.parents,
            progress: unsigned(message.progress, "progress")?,
            total: unsigned(message.total, "total")?,
            descriptor: descriptor.map(Descriptor::try_from).transpose()?,
        })
    }
}
