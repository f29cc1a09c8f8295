//! `state.json`: what is kept of a container, in runc's field names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::capabilities::CapabilityMasks;
use crate::error::{Error, Result};
use crate::spec::{Capabilities, Hooks, IdMapping, or_default};

/// The file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Saved {
    pub(crate) id: String,
    pub(crate) init_process_pid: i32,
    /// When the process started, in clock ticks since boot: tells it from a later one of its id.
    pub(crate) init_process_start: u64,
    pub(crate) created: String,
    pub(crate) config: SavedConfig,
    pub(crate) rootless: bool,
    /// By controller.
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// By runc's name of the kind.
    pub(crate) namespace_paths: BTreeMap<String, String>,
    pub(crate) external_descriptors: Vec<String>,
    pub(crate) intel_rdt_path: String,
}

/// What of the configuration is needed later, or read by others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavedConfig {
    pub(crate) no_pivot_root: bool,
    pub(crate) rootfs: PathBuf,
    pub(crate) readonlyfs: bool,
    pub(crate) hostname: String,
    pub(crate) namespaces: Vec<SavedNamespace>,
    pub(crate) capabilities: Option<SavedCapabilities>,
    pub(crate) uid_mappings: Vec<IdMapping>,
    pub(crate) gid_mappings: Vec<IdMapping>,
    pub(crate) oom_score_adj: Option<i32>,
    #[serde(rename = "Hooks", deserialize_with = "or_default")]
    pub(crate) hooks: Hooks,
    pub(crate) version: String,
    /// Annotations as `key=value`, and `bundle=path`.
    pub(crate) labels: Vec<String>,
    pub(crate) no_new_keyring: bool,
    pub(crate) umask: Option<u32>,
}

/// A namespace that the container has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedNamespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: String,
}

/// The container's capabilities, for an `exec` that names none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SavedCapabilities {
    pub(crate) bounding: Vec<String>,
    pub(crate) effective: Vec<String>,
    pub(crate) inheritable: Vec<String>,
    pub(crate) permitted: Vec<String>,
    pub(crate) ambient: Vec<String>,
}

impl Saved {
    /// Reads it from a container's directory.
    pub(crate) fn read(dir: &Path) -> Result<Saved> {
        let path = dir.join("state.json");
        let text = std::fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
        serde_json::from_slice(&text)
            .map_err(|source| Error::file("read", &path, std::io::Error::other(source)))
    }

    /// Writes it whole: a reader sees the old one or the new one.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("state.json");
        let draft = dir.join(".state.json");
        let text = serde_json::to_vec(self)
            .map_err(|source| Error::file("write", &path, std::io::Error::other(source)))?;
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(|source| Error::file("write", &path, source))
    }

    /// The bundle and the annotations, out of the labels.
    pub(crate) fn labels(&self) -> (PathBuf, BTreeMap<String, String>) {
        let mut pairs: BTreeMap<String, String> = self
            .config
            .labels
            .iter()
            .filter_map(|label| label.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let bundle = pairs.remove("bundle").unwrap_or_default();
        (bundle.into(), pairs)
    }
}

impl From<CapabilityMasks> for SavedCapabilities {
    fn from(masks: CapabilityMasks) -> SavedCapabilities {
        SavedCapabilities {
            bounding: CapabilityMasks::names(masks.bounding),
            effective: CapabilityMasks::names(masks.effective),
            inheritable: CapabilityMasks::names(masks.inheritable),
            permitted: CapabilityMasks::names(masks.permitted),
            ambient: CapabilityMasks::names(masks.ambient),
        }
    }
}

impl From<&SavedCapabilities> for Capabilities {
    fn from(from: &SavedCapabilities) -> Capabilities {
        let SavedCapabilities { bounding, effective, inheritable, permitted, ambient } =
            from.clone();
        Capabilities { bounding, effective, inheritable, permitted, ambient }
    }
}

/// When a process started, in clock ticks since boot, and whether it still runs.
pub(crate) fn start_time(pid: i32) -> Option<(u64, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, parentheses too.
    let fields = text.get(text.rfind(')')? + 2..)?;
    let mut fields = fields.split(' ');
    let runs = !matches!(fields.next()?, "Z" | "X");
    Some((fields.nth(18)?.parse().ok()?, runs))
}
