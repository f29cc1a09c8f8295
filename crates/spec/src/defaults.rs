//! What a container gets when nothing is asked for.

use serde_json::json;
use stowd_core::Platform;

use crate::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec,
};

/// The version of the runtime spec that the built specs follow.
pub const OCI_VERSION: &str = "1.3.0";

/// The environment of a container whose image has none.
pub(crate) const DEFAULT_ENV: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The capabilities a container has unless more or fewer are asked for.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

impl Spec {
    /// Builds the default spec of a Linux container: cgroup `/<namespace>/<id>`, root `rootfs`.
    pub fn linux_default(namespace: &str, id: &str) -> Spec {
        let capabilities = DEFAULT_CAPABILITIES.map(str::to_owned).to_vec();
        let process = Process {
            cwd: "/".into(),
            no_new_privileges: true,
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
            ..Process::default()
        };
        let linux = Linux {
            masked_paths: MASKED_PATHS.map(str::to_owned).to_vec(),
            readonly_paths: READONLY_PATHS.map(str::to_owned).to_vec(),
            cgroups_path: cgroups_path(namespace, id),
            resources: Some(Resources {
                devices: vec![DeviceRule { access: "rwm".into(), ..DeviceRule::default() }],
                ..Resources::default()
            }),
            namespaces: ["pid", "ipc", "uts", "mount", "network"].map(Namespace::new).to_vec(),
            ..Linux::default()
        };
        Spec {
            oci_version: OCI_VERSION.into(),
            root: Some(Root { path: "rootfs".into(), readonly: false }),
            process: Some(process),
            mounts: default_mounts(),
            linux: Some(linux),
            ..Spec::default()
        }
    }

    /// Builds the default spec for `platform`, of which only Linux has much to say.
    pub fn default_for(platform: &Platform, namespace: &str, id: &str) -> Spec {
        let (root, cwd, windows) = match platform.os.as_str() {
            "windows" => ("", "C:\\", Some(json!({ "layerFolders": null }))),
            "darwin" => ("rootfs", "/", None),
            _ => return Spec::linux_default(namespace, id),
        };
        Spec {
            oci_version: OCI_VERSION.into(),
            root: Some(Root { path: root.into(), readonly: false }),
            process: Some(Process { cwd: cwd.into(), ..Process::default() }),
            windows,
            ..Spec::default()
        }
    }
}

/// The cgroup of a container: `/<namespace>/<id>`, without empty parts.
pub(crate) fn cgroups_path(namespace: &str, id: &str) -> String {
    [namespace, id]
        .iter()
        .filter(|part| !part.is_empty())
        .fold(String::new(), |path, part| path + "/" + part)
}

const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];

const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn default_mounts() -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.split(' ').map(str::to_owned).collect(),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", "nosuid noexec nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
        ),
        mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        mount("/run", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ]
}
