//! What this daemon is made of.

use std::borrow::Cow;

use async_trait::async_trait;

use crate::filters::{self, Adaptor, Filters};
use crate::{Any, Error, Labels, Platform, Result};

/// One part of the daemon, in containerd's words.
#[derive(Clone, Debug, Default)]
pub struct Plugin {
    /// The type: `io.containerd.snapshotter.v1`.
    pub kind: String,
    /// The id: `overlayfs`.
    pub id: String,
    /// Types, or `type.id`, of what it is built upon.
    pub requires: Vec<String>,
    /// The platforms that it serves.
    pub platforms: Vec<Platform>,
    /// What it tells about itself, such as `root`.
    pub exports: Labels,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Why it does not work, where it does not; `skip plugin` starts the reason of one that was
    /// never meant to work on this host.
    pub init_error: Option<PluginError>,
}

/// Why a plugin does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// The kind, as a gRPC code is made of it.
    pub kind: crate::ErrorKind,
    /// The reason.
    pub message: String,
}

/// The daemon itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// An id that stays with the root folder.
    pub uuid: String,
    /// The process.
    pub pid: u32,
    /// The inode of its pid namespace.
    pub pid_namespace: u64,
    /// Uses of what is going away: id, message, last seen.
    pub deprecations: Vec<Deprecation>,
}

/// A use of something that is going away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// Its id.
    pub id: String,
    /// What to do about it.
    pub message: String,
    /// When it was last seen.
    pub last_occurrence: std::time::SystemTime,
}

/// A daemon's version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Semantic version, with a leading `v`.
    pub version: String,
    /// The source's revision.
    pub revision: String,
}

/// What can be asked of the daemon about itself.
#[async_trait]
pub trait Introspection: Send + Sync {
    /// Lists plugins, working or not.
    async fn plugins(&self, filters: &Filters) -> Result<Vec<Plugin>>;

    /// Returns what is known of the daemon.
    async fn server(&self) -> Result<Server>;

    /// Asks a plugin about itself, for instance a runtime about its features.
    async fn plugin_info(
        &self,
        kind: &str,
        id: &str,
        options: Option<Any>,
    ) -> Result<(Plugin, Option<Any>)> {
        let _ = options;
        Err(Error::not_implemented(format_args!("information on plugin {kind}.{id}")))
    }

    /// Returns the daemon's version.
    async fn version(&self) -> Result<Version>;
}

impl Adaptor for Plugin {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type"] => Some(self.kind.as_str().into()),
            ["id"] => Some(self.id.as_str().into()),
            ["capabilities", rest @ ..] => {
                let wanted = rest.join(".");
                self.capabilities.contains(&wanted).then(|| wanted.into())
            }
            ["exports", rest @ ..] => filters::label(&self.exports, rest),
            _ => None,
        }
    }
}
