//! What an image's config says of its layers (OCI image-spec, config.md).

use serde::{Deserialize, Serialize};
use stowd_core::content::Store;
use stowd_core::{Descriptor, Digest, Error, Platform, Result, Scope};

use crate::graph;

/// The part of a config that says what the image's root is made of, and for which platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    platform: Platform,
    /// The layers, uncompressed.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The layers of a root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`, or empty in some old configs.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The digests of the uncompressed layers, lowest first.
    #[serde(default)]
    pub diff_ids: Option<Vec<Digest>>,
}

impl Config {
    /// Parses a config.
    ///
    /// # Errors
    /// `InvalidArgument` when it is malformed.
    pub fn parse(descriptor: &Descriptor, data: &[u8]) -> Result<Self> {
        serde_json::from_slice(data).map_err(|error| {
            Error::invalid(format_args!("image config {}: {error}", descriptor.digest))
        })
    }

    /// Reads a config.
    ///
    /// # Errors
    /// As [`graph::read`], and `InvalidArgument` when it is malformed.
    pub async fn read(store: &dyn Store, scope: &Scope, descriptor: &Descriptor) -> Result<Self> {
        let data = graph::read(store, scope, descriptor).await?;
        Self::parse(descriptor, &data)
    }

    /// Returns the platform that the image is for.
    pub fn platform(&self) -> Platform {
        self.platform.clone().normalized()
    }

    /// Returns the digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// Says whether the root is made of layers, the only kind there is.
    pub fn has_layers(&self) -> bool {
        self.rootfs.kind.is_empty() || self.rootfs.kind == "layers"
    }
}

/// Returns the chain id of each layer: the name of the tree that it and all below it make.
///
/// The lowest has its diff id, each other the digest of `<chain id below> <diff id>`.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_layers() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|data| Digest::of(data));
        let chain = chain_ids(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(chain[0], a);
        assert_eq!(chain[1], Digest::of(format!("{a} {b}").as_bytes()));
        assert_eq!(chain[2], Digest::of(format!("{} {c}", chain[1]).as_bytes()));
        assert_eq!(chain_ids(&[]), []);
    }

    #[test]
    fn reads_what_go_writes() {
        let descriptor = Descriptor::new("", Digest::of(b""), 0);
        let data = br#"{"architecture":"arm64","os":"linux","config":{"Env":null},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = Config::parse(&descriptor, data).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64/v8");
        assert!(config.diff_ids().is_empty() && config.has_layers());
        let bad = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#;
        assert!(Config::parse(&descriptor, bad).is_err());
    }
}
