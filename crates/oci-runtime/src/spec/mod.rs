//! The OCI runtime specification's `config.json`, as far as Linux is concerned (version 1.3).
//!
//! Field names are the specification's. Unknown fields are ignored and `null` counts as absent, as
//! Go's decoder has it, because clients written in Go rely on both. What a value *means* is not
//! checked here but when a container is created.

mod linux;
mod resources;
mod seccomp;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

pub use linux::{
    IdMapping, IntelRdt, Linux, LinuxDevice, MemoryPolicy, Namespace, NetDevice, Personality,
    TimeOffset,
};
pub use resources::{
    BlockIo, Cpu, DeviceCgroup, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma,
    Resources, ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, SeccompArg, SeccompSyscall};

/// The version of the runtime specification that this crate follows.
pub const VERSION: &str = "1.3.0";

/// A container's configuration: the whole of `config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The version of the specification it was written for.
    #[serde(deserialize_with = "or_default")]
    pub oci_version: String,
    /// The init process.
    pub process: Option<Process>,
    /// The root file system.
    pub root: Option<Root>,
    /// The name in the UTS namespace.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    /// The NIS domain name in the UTS namespace.
    #[serde(deserialize_with = "or_default")]
    pub domainname: String,
    /// Mounts below the root, in order.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// Programs to run at points of the container's life.
    pub hooks: Option<Hooks>,
    /// Anything the creator wants to keep with the container.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    pub linux: Option<Linux>,
}

/// A process to run in a container: its init, or one more.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Whether it gets a terminal of its own.
    #[serde(deserialize_with = "or_default")]
    pub terminal: bool,
    /// The terminal's size at the start.
    pub console_size: Option<ConsoleSize>,
    /// Who runs it.
    #[serde(deserialize_with = "or_default")]
    pub user: User,
    /// The program and its arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// `NAME=value` pairs.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The working directory, absolute.
    #[serde(deserialize_with = "or_default")]
    pub cwd: String,
    /// The capability sets; none of them given means no capabilities at all.
    pub capabilities: Option<Capabilities>,
    /// Resource limits of the process.
    #[serde(deserialize_with = "or_default")]
    pub rlimits: Vec<Rlimit>,
    /// Whether set-user-id programs and file capabilities have no effect.
    #[serde(deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// The AppArmor profile to run under.
    #[serde(deserialize_with = "or_default")]
    pub apparmor_profile: String,
    /// The adjustment of its score for the out-of-memory killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy and priority.
    pub scheduler: Option<Scheduler>,
    /// The SELinux context to run under.
    #[serde(deserialize_with = "or_default")]
    pub selinux_label: String,
    /// I/O class and priority.
    pub io_priority: Option<IoPriority>,
    /// The CPUs that an `exec` runs on.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// The ids and the file creation mask of a process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id inside the container.
    #[serde(deserialize_with = "or_default")]
    pub uid: u32,
    /// Group id inside the container.
    #[serde(deserialize_with = "or_default")]
    pub gid: u32,
    /// File creation mask; `0022` if not given.
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(deserialize_with = "or_default")]
    pub additional_gids: Vec<u32>,
}

/// Names of capabilities (`CAP_…`) by set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// What can be gained by `execve` at most.
    #[serde(deserialize_with = "or_default")]
    pub bounding: Vec<String>,
    /// What the kernel checks.
    #[serde(deserialize_with = "or_default")]
    pub effective: Vec<String>,
    /// What passes an `execve` of a program with file capabilities.
    #[serde(deserialize_with = "or_default")]
    pub inheritable: Vec<String>,
    /// What may be made effective.
    #[serde(deserialize_with = "or_default")]
    pub permitted: Vec<String>,
    /// What passes an `execve` of any program.
    #[serde(deserialize_with = "or_default")]
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// The ceiling of the soft limit.
    pub hard: u64,
    /// The limit in force.
    pub soft: u64,
}

/// `sched_setattr(2)`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduler {
    /// `SCHED_OTHER`, `SCHED_FIFO` and so on.
    #[serde(deserialize_with = "or_default")]
    pub policy: String,
    /// Nice value.
    pub nice: i32,
    /// Static priority of the real-time policies.
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// Nanoseconds in each period (`SCHED_DEADLINE`).
    pub runtime: u64,
    /// Nanoseconds until it must be done (`SCHED_DEADLINE`).
    pub deadline: u64,
    /// Length of the period in nanoseconds (`SCHED_DEADLINE`).
    pub period: u64,
}

/// `ioprio_set(2)`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
    #[serde(deserialize_with = "or_default")]
    pub class: String,
    /// 0 (first) to 7.
    pub priority: i32,
}

/// CPU lists for an `exec`, before and after it is in the container's cgroup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// While it is being set up.
    #[serde(deserialize_with = "or_default")]
    pub initial: String,
    /// When the program starts.
    #[serde(rename = "final", deserialize_with = "or_default")]
    pub last: String,
}

/// The root file system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    /// A directory; a relative one is relative to the bundle.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(deserialize_with = "or_default")]
    pub readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where, inside the container.
    #[serde(deserialize_with = "or_default")]
    pub destination: String,
    /// The file system's type; ignored when the options say `bind` or `rbind`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// What; a relative path is relative to the bundle.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// As in `fstab(5)`, and the specification's own.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// User ids as they appear through this mount.
    #[serde(rename = "uidMappings", deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids as they appear through this mount.
    #[serde(rename = "gidMappings", deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
}

/// Programs to run at points of the container's life, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated; like `create_runtime`, and before it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// In the caller's namespaces, when the container's exist, before its root is entered.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root is entered.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, on start, before its program.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// In the caller's namespaces, after the program has started.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// In the caller's namespaces, when the container is deleted.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// One program to run. It gets the container's [`State`](crate::State) on its standard input.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// The program, absolute.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// Its arguments, the name first; `path` if empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds after which it is killed and counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

impl Spec {
    /// Reads `config.json` of a bundle.
    pub fn load(bundle: &Path) -> Result<Spec> {
        let path = bundle.join("config.json");
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::InvalidSpec(format!("JSON specification file {} not found", path.display()))
            }
            _ => Error::file("read", &path, source),
        })?;
        Spec::parse(&text)
    }

    /// Parses the text of a `config.json`.
    pub fn parse(text: &[u8]) -> Result<Spec> {
        serde_json::from_slice(text)
            .map_err(|error| Error::InvalidSpec(format!("unable to parse config.json: {error}")))
    }
}

impl Process {
    /// Parses the JSON of a process alone, as `exec` requests carry it.
    pub fn parse(text: &[u8]) -> Result<Process> {
        serde_json::from_slice(text)
            .map_err(|error| Error::InvalidSpec(format!("unable to parse the process: {error}")))
    }
}

/// Lets `null` stand for an absent value.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
