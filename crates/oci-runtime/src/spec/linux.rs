//! `linux` in `config.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Resources, or_default};

/// What only Linux has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// User ids of a new user namespace.
    #[serde(rename = "uidMappings", deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    #[serde(rename = "gidMappings", deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters, by dotted name.
    #[serde(deserialize_with = "or_default")]
    pub sysctl: BTreeMap<String, String>,
    /// The cgroup's limits.
    pub resources: Option<Resources>,
    /// The cgroup: a path, or `slice:prefix:name` for systemd.
    #[serde(deserialize_with = "or_default")]
    pub cgroups_path: String,
    /// The namespaces to make or to join.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes to make, besides the default ones.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<LinuxDevice>,
    /// Host interfaces to move into the network namespace.
    #[serde(deserialize_with = "or_default")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// The seccomp profile's JSON, unread: see [`Seccomp`](super::Seccomp).
    pub seccomp: Option<Box<RawValue>>,
    /// How mount events pass between the root and the host.
    #[serde(deserialize_with = "or_default")]
    pub rootfs_propagation: String,
    /// Paths whose content is hidden.
    #[serde(deserialize_with = "or_default")]
    pub masked_paths: Vec<String>,
    /// Paths that are read-only.
    #[serde(deserialize_with = "or_default")]
    pub readonly_paths: Vec<String>,
    /// The SELinux context of the mounts.
    #[serde(deserialize_with = "or_default")]
    pub mount_label: String,
    /// Cache and memory bandwidth classes.
    pub intel_rdt: Option<IntelRdt>,
    /// NUMA policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain.
    pub personality: Option<Personality>,
    /// Clock offsets of a new time namespace.
    #[serde(deserialize_with = "or_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// The first id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The id outside that it stands for.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A namespace to make or, with a path, to join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// The file of an existing namespace.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
}

/// A device node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxDevice {
    /// Where, inside the container.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits; `0666` if not given.
    pub file_mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Where a network interface goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetDevice {
    /// Its name inside; the same as outside if empty.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// Intel's resource director.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// The class of service.
    #[serde(rename = "closID", deserialize_with = "or_default")]
    pub clos_id: String,
    /// Lines for the schemata file.
    #[serde(deserialize_with = "or_default")]
    pub schemata: Vec<String>,
    /// Level 3 cache line.
    #[serde(deserialize_with = "or_default")]
    pub l3_cache_schema: String,
    /// Memory bandwidth line.
    #[serde(deserialize_with = "or_default")]
    pub mem_bw_schema: String,
    /// Whether the container gets a monitoring group.
    #[serde(deserialize_with = "or_default")]
    pub enable_monitoring: bool,
}

/// `set_mempolicy(2)`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MemoryPolicy {
    /// `MPOL_…`.
    #[serde(deserialize_with = "or_default")]
    pub mode: String,
    /// A list of nodes.
    #[serde(deserialize_with = "or_default")]
    pub nodes: String,
    /// `MPOL_F_…`.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// `personality(2)`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
    /// None are defined.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// An offset of a clock.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds more.
    pub nanosecs: u32,
}
