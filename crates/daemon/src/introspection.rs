//! What the daemon tells about itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::filters::Filters;
use stowd_core::introspection::{self, Plugin, Server, Version};
use stowd_core::{Any, Error, Result};

use crate::plugins::Plugins;

/// The one part that tells more of itself: what a runtime can do.
const RUNTIMES: (&str, &str) = ("io.containerd.runtime.v2", "task");

/// Answers from the records of the build.
pub(crate) struct Introspection {
    plugins: Plugins,
    uuid: String,
    tasks: Arc<stowd_tasks::Manager>,
}

impl Introspection {
    /// Takes the records, the root's id, which is made when it is missing, and who knows of runtimes.
    pub(crate) fn new(
        plugins: Plugins,
        root: &Path,
        tasks: Arc<stowd_tasks::Manager>,
    ) -> Result<Self> {
        let uuid = uuid(&root.join("io.containerd.grpc.v1.introspection"))?;
        Ok(Self { plugins, uuid, tasks })
    }
}

#[async_trait]
impl introspection::Introspection for Introspection {
    async fn plugins(&self, filters: &Filters) -> Result<Vec<Plugin>> {
        Ok(self.plugins.list().iter().filter(|plugin| filters.matches(*plugin)).cloned().collect())
    }

    async fn server(&self) -> Result<Server> {
        let namespace = std::fs::metadata("/proc/self/ns/pid")
            .map_err(|error| Error::io("stat /proc/self/ns/pid", &error))?;
        Ok(Server {
            uuid: self.uuid.clone(),
            pid: std::process::id(),
            pid_namespace: namespace.ino(),
            deprecations: Vec::new(),
        })
    }

    async fn plugin_info(
        &self,
        kind: &str,
        id: &str,
        options: Option<Any>,
    ) -> Result<(Plugin, Option<Any>)> {
        let plugin = self
            .plugins
            .list()
            .iter()
            .find(|plugin| plugin.kind == kind && plugin.id == id)
            .ok_or_else(|| Error::not_found(format_args!("plugin {kind}.{id} not found")))?;
        let Some(options) = options else { return Ok((plugin.clone(), None)) };
        if plugin.init_error.is_some() {
            return Err(Error::failed_precondition(
                "cannot get extra info, plugin not successfully loaded",
            ));
        }
        if (kind, id) != RUNTIMES {
            return Err(Error::not_implemented("plugin does not provided extra information"));
        }
        Ok((plugin.clone(), Some(self.tasks.info(options).await?)))
    }

    async fn version(&self) -> Result<Version> {
        Ok(Version { version: crate::VERSION.to_owned(), revision: crate::REVISION.to_owned() })
    }
}

/// Reads the root's id, or makes a random one (RFC 9562, version 4).
fn uuid(folder: &Path) -> Result<String> {
    let path: PathBuf = folder.join("uuid");
    let failed = |act: &str, error: &std::io::Error| {
        Error::io(format_args!("{act} {}", path.display()), error)
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 36 => return Ok(text.trim().to_owned()),
        // A torn write of a power cut: nobody can have relied on it.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &error)),
    }
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("get random bytes", &error.into()))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let made = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    std::fs::create_dir_all(folder).map_err(|error| failed("make the folder of", &error))?;
    std::fs::write(&path, &made).map_err(|error| failed("write", &error))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_keeps_its_id() {
        let root = tempfile::tempdir().unwrap();
        let first = uuid(root.path()).unwrap();
        assert_eq!(first.len(), 36);
        assert_eq!(first.as_bytes()[14], b'4');
        assert_eq!(uuid(root.path()).unwrap(), first);
        std::fs::write(root.path().join("uuid"), "").unwrap();
        assert_ne!(uuid(root.path()).unwrap(), first);
    }
}
