//! Documents that lead to other blobs: indexes and manifests (OCI image-spec, image-index.md and
//! manifest.md; Docker image manifest v2, schema 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use stowd_core::descriptor::media_type;
use stowd_core::{Descriptor, Error, Result};

/// The longest document that is read. Registries refuse manifests of more than 4 MiB.
pub const MAX_SIZE: u64 = 8 << 20;

/// An index or manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default = "two")]
    pub schema_version: u32,
    /// What the document says it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Manifests and further indexes.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    #[serde(default = "two")]
    pub schema_version: u32,
    /// What the document says it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a document leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// To manifests.
    Index(Index),
    /// To a config and layers.
    Manifest(Box<Manifest>),
}

impl Document {
    /// Says whether a blob of this media type leads to others.
    pub fn is_one(media_type: &str) -> bool {
        media_type::is_index(media_type) || media_type::is_manifest(media_type)
    }

    /// Parses the blob of a descriptor.
    ///
    /// # Errors
    /// [`stowd_core::ErrorKind::InvalidArgument`] when the blob is not what the descriptor's media
    /// type says: a manifest passed off as an index (or the reverse) could hide content from
    /// whoever checks only one of them.
    pub fn parse(descriptor: &Descriptor, data: &[u8]) -> Result<Self> {
        let digest = &descriptor.digest;
        let bad = |why: &dyn std::fmt::Display| {
            Error::invalid(format_args!("{} {digest}: {why}", kind(&descriptor.media_type)))
        };
        let shape: Shape = serde_json::from_slice(data).map_err(|error| bad(&error))?;
        if shape.fs_layers.is_some() {
            return Err(bad(&"schema 1 image manifests are no longer supported"));
        }
        let says = shape.media_type.as_deref().unwrap_or_default();
        if media_type::is_index(&descriptor.media_type) {
            if shape.config.is_some() || shape.layers.is_some() || media_type::is_manifest(says) {
                return Err(bad(&"expected index but found manifest"));
            }
            return serde_json::from_slice(data).map(Self::Index).map_err(|error| bad(&error));
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            return Err(bad(&"leads to no other blobs"));
        }
        if shape.manifests.is_some() || media_type::is_index(says) {
            return Err(bad(&"expected manifest but found index"));
        }
        serde_json::from_slice(data)
            .map(|it| Self::Manifest(Box::new(it)))
            .map_err(|error| bad(&error))
    }

    /// Returns what the document leads to: an index to its manifests, a manifest to its config and
    /// then its layers.
    pub fn into_children(self) -> Vec<Descriptor> {
        match self {
            Self::Index(index) => index.manifests,
            Self::Manifest(manifest) => {
                std::iter::once(manifest.config).chain(manifest.layers).collect()
            }
        }
    }
}

/// Returns the word that progress, ingests and errors use for a kind of blob.
pub fn kind(media_type: &str) -> &'static str {
    if media_type::is_manifest(media_type) {
        "manifest"
    } else if media_type::is_index(media_type) {
        "index"
    } else if media_type::is_layer(media_type) {
        "layer"
    } else if is_known_config(media_type) {
        "config"
    } else if media_type.starts_with("application/vnd.in-toto") {
        "attestation"
    } else {
        "unknown"
    }
}

/// Says whether the blob is the config of an image or of a checkpoint of containerd's.
pub(crate) fn is_known_config(media_type: &str) -> bool {
    media_type::is_config(media_type)
        || media_type.starts_with("application/vnd.containerd.container.criu.checkpoint.criu.tar")
        || media_type.starts_with("application/vnd.containerd.container.checkpoint.config.v1")
}

/// Which fields a document has, whatever is in them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

fn two() -> u32 {
    2
}

/// Reads `null`, which Go writes for an empty list, as empty.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::{Digest, ErrorKind};

    fn descriptor(media_type: &str) -> Descriptor {
        Descriptor::new(media_type, Digest::of(b""), 0)
    }

    #[test]
    fn null_is_an_empty_list() {
        let data = br#"{"schemaVersion":2,"manifests":null}"#;
        let parsed = Document::parse(&descriptor(media_type::INDEX), data).unwrap();
        assert_eq!(parsed.into_children(), []);
    }

    #[test]
    fn refuses_what_poses_as_another() {
        let index = br#"{"manifests":[]}"#;
        let manifest = br#"{"config":{},"layers":[]}"#;
        let named = format!(r#"{{"mediaType":"{}"}}"#, media_type::MANIFEST);
        for (media_type, data) in [
            (media_type::MANIFEST, &index[..]),
            (media_type::INDEX, manifest),
            (media_type::DOCKER_INDEX, named.as_bytes()),
            (media_type::DOCKER_MANIFEST, br#"{"fsLayers":[]}"#),
            (media_type::MANIFEST, b"{"),
            (media_type::MANIFEST, br#"{"config":{"digest":"sha256:00","size":1}}"#),
            (media_type::LAYER, b"{}"),
        ] {
            let error = Document::parse(&descriptor(media_type), data).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }
}
