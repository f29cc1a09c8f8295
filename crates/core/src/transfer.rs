//! Moving images: pull, import, export, tag.
//!
//! A transfer leads from a source to a destination; which pairs there are is the table of
//! [`Transfer::transfer`]. Whatever the caller (a command line, the gRPC service, the CRI), it is
//! the same code.
//!
//! # Errors
//!
//! `NotImplemented`: a pair that is not in the table. Else those of the parts: of the registry
//! (`NotFound`, `Unauthenticated`, `PermissionDenied`, `Unavailable`), the archive
//! (`InvalidArgument`), the stores.

use std::io::{Read, Write};
use std::sync::Arc;

use async_trait::async_trait;

use crate::progress::Sink;
use crate::{Labels, Platform, Result, Scope};

/// Where an image comes from.
pub enum Source {
    /// A registry.
    Registry(RegistryRef),
    /// An OCI or Docker archive, as a stream of bytes; compressed or not.
    Archive(Box<dyn Read + Send>),
    /// Images of this namespace, by name.
    Images(Vec<String>),
}

/// Where an image goes to.
pub enum Destination {
    /// This namespace's image store.
    Images(Store),
    /// An archive, as a stream of bytes.
    Archive(Box<dyn Write + Send>, Export),
    /// A registry.
    Registry(RegistryRef),
}

/// An image on a registry and how to get at it.
#[derive(Clone, Default)]
pub struct RegistryRef {
    /// The full reference.
    pub reference: String,
    /// A folder with `hosts.toml` files; empty means none.
    pub config_path: String,
    /// Extra request headers.
    pub headers: Vec<(String, String)>,
    /// Talks plain HTTP to the reference's host.
    pub plain_http: bool,
    /// Does not check the host's certificate.
    pub skip_verify: bool,
    /// Gives credentials for a host when it asks for them.
    pub credentials: Option<Arc<dyn Credentials>>,
}

/// A user's secret for a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token to exchange for another (OAuth2 refresh token, "identity token").
    Refresh(String),
    /// A token to send as it is.
    Bearer(String),
}

impl std::fmt::Debug for Secret {
    /// Says which form it has, and never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Refresh(_) => "Refresh(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Finds credentials.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Returns the secret for a host, or nothing to go on as anybody.
    async fn secret(&self, reference: &str, host: &str) -> Result<Option<Secret>>;
}

/// What is stored of an image, and as which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The image's name; empty for an archive whose own names count.
    pub name: String,
    /// The image's labels.
    pub labels: Labels,
    /// The platforms whose content is fetched; empty means all.
    pub platforms: Vec<Platform>,
    /// Fetches the manifests and configs of the other platforms, too.
    pub all_metadata: bool,
    /// The most manifests of one index that are fetched; 0 means all.
    pub manifest_limit: usize,
    /// Further names that an archive's images may take.
    pub extra_names: Vec<NameRule>,
    /// Unpacks for these platforms into these snapshotters.
    pub unpack: Vec<Unpack>,
}

/// How images found in an archive are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRule {
    /// The name, or the start of it.
    pub name: String,
    /// `name` is a prefix: names of the archive are taken if they start with it, and tags alone are
    /// put behind it.
    pub is_prefix: bool,
    /// Names that the archive gives may be replaced.
    pub allow_overwrite: bool,
    /// Adds a name `name@digest` for what has no name.
    pub add_digest: bool,
    /// Adds no digest name to what has another name.
    pub skip_named_digest: bool,
}

/// Where to unpack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpack {
    /// For this platform; none means the host's.
    pub platform: Option<Platform>,
    /// Into this snapshotter; empty means the default one.
    pub snapshotter: String,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// The archive's media type; empty means an OCI archive.
    pub media_type: String,
    /// Only these platforms; empty means all that are here.
    pub platforms: Vec<Platform>,
    /// Fails when a platform of the index is not here.
    pub all_platforms: bool,
    /// Leaves Docker's `manifest.json` out.
    pub skip_compatibility_manifest: bool,
    /// Leaves layers out that registries do not hold.
    pub skip_non_distributable: bool,
}

/// Moves images.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Moves an image.
    ///
    /// | from | to | is |
    /// |---|---|---|
    /// | registry | images | pull |
    /// | archive | images | import |
    /// | images | archive | export |
    /// | images | images | tag |
    /// | images | registry | push |
    async fn transfer(
        &self,
        scope: &Scope,
        source: Source,
        destination: Destination,
        progress: Arc<dyn Sink>,
    ) -> Result<()>;
}
