//! What the engine was built from, in containerd's words.
//!
//! containerd's clients ask for plugins by type and id, scripts disable and require them. Each step
//! of the build leaves a record here; nothing is ever looked up in it to find a part.

use std::path::Path;

use stowd_core::introspection::{Plugin, PluginError};
use stowd_core::{Error, ErrorKind, Platform, Result};

use crate::config::Proxy;

/// The records, in the order of construction.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    list: Vec<Plugin>,
    disabled: Vec<String>,
    /// The last record of a part that is disabled, which nobody reads.
    unread: Plugin,
}

/// A record being written.
pub struct Record<'a>(&'a mut Plugin);

impl Plugins {
    /// Makes a list that parts of these URIs do not get into.
    #[must_use]
    pub fn without(disabled: &[String]) -> Self {
        Self { disabled: disabled.to_owned(), ..Self::default() }
    }

    /// Records a part that works.
    pub fn add(&mut self, kind: &str, id: &str) -> Record<'_> {
        let plugin = Plugin {
            kind: format!("io.containerd.{kind}"),
            id: id.to_owned(),
            ..Plugin::default()
        };
        if self.disabled.contains(&format!("{}.{}", plugin.kind, plugin.id)) {
            self.unread = plugin;
            return Record(&mut self.unread);
        }
        self.list.push(plugin);
        let last = self.list.len() - 1;
        Record(&mut self.list[last])
    }

    /// Records several parts of one type that work.
    pub fn add_all(&mut self, kind: &str, ids: &[&str], requires: &[&str]) {
        for id in ids {
            let _ = self.add(kind, id).requires(requires);
        }
    }

    /// Records a part that was not meant to work on this host, or is not built yet, with the
    /// reason.
    pub fn skip(&mut self, kind: &str, id: &str, why: &str) {
        self.add(kind, id).0.init_error =
            Some(PluginError { kind: ErrorKind::Unknown, message: format!("{why}: skip plugin") });
    }

    /// Returns all records.
    pub fn list(&self) -> &[Plugin] {
        &self.list
    }

    /// Checks that each required part is there and works.
    ///
    /// # Errors
    /// `FailedPrecondition`, naming those that do not.
    pub fn check_required(&self, required: &[String]) -> Result<()> {
        let works = |uri: &String| {
            self.list
                .iter()
                .any(|p| p.init_error.is_none() && *uri == format!("{}.{}", p.kind, p.id))
        };
        let missing: Vec<&str> =
            required.iter().filter(|uri| !works(uri)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::failed_precondition(format_args!("required plugin {missing:?} not included"))
            .hint("take it out of required_plugins, or out of disabled_plugins"))
    }
}

impl Record<'_> {
    /// Says what the part is built upon.
    #[must_use = "finish the sentence or drop it"]
    pub fn requires(self, kinds: &[&str]) -> Self {
        self.0.requires = kinds.iter().map(|kind| format!("io.containerd.{kind}.*")).collect();
        self
    }

    /// Takes what a proxy's configuration says of it.
    pub fn of_proxy(mut self, proxy: &Proxy) -> Self {
        self.0.platforms = vec![proxy.platform.clone()];
        self.0.capabilities.clone_from(&proxy.capabilities);
        self.0.exports.extend(proxy.exports.clone());
        self = self.export("address", &proxy.address.display().to_string());
        self
    }

    /// Says that the part serves this host's platform.
    pub fn on_host(self) -> Self {
        self.0.platforms = vec![Platform::host()];
        self
    }

    /// Says where the part keeps its files.
    pub fn root(self, path: &Path) -> Self {
        self.export("root", &path.display().to_string())
    }

    /// Says something about the part.
    pub fn export(self, key: &str, value: &str) -> Self {
        self.0.exports.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Says what the part can do.
    pub fn can(self, capabilities: &[&str]) -> Self {
        self.0.capabilities = capabilities.iter().map(|&c| c.to_owned()).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_parts_are_not_listed() {
        let mut plugins = Plugins::without(&["io.containerd.grpc.v1.tasks".to_owned()]);
        plugins.add_all("grpc.v1", &["images", "tasks"], &["service.v1"]);
        let ids: Vec<_> = plugins.list().iter().map(|plugin| &plugin.id).collect();
        assert_eq!(ids, ["images"]);
        assert!(plugins.check_required(&["io.containerd.grpc.v1.tasks".to_owned()]).is_err());
    }

    #[test]
    fn required_parts_must_work() {
        let mut plugins = Plugins::default();
        let _ = plugins.add("snapshotter.v1", "overlayfs").on_host();
        plugins.skip("snapshotter.v1", "btrfs", "not here");
        let required = |name: &str| plugins.check_required(&[name.to_owned()]);
        assert!(required("io.containerd.snapshotter.v1.overlayfs").is_ok());
        assert!(required("overlayfs").is_err());
        assert!(required("io.containerd.snapshotter.v1.btrfs").is_err());
        assert!(required("nothing").is_err());
    }
}
