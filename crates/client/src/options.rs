//! Options for the shim.

use stowd_api::Any;
use stowd_api::runc::v1 as runc;
use stowd_api::runtimeoptions::v1 as runtimeoptions;

/// Options of `io.containerd.runc.v2`, as far as clients set them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuncOptions {
    /// The runtime's program; empty means the shim's own.
    pub binary: String,
    /// Where the runtime keeps its state; empty means the default.
    pub root: String,
    /// Cgroups are made by systemd.
    pub systemd_cgroup: bool,
}

/// What a task can be created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Changes the root with `MS_MOVE` and `chroot` instead of `pivot_root`, for a ramdisk root.
    pub no_pivot_root: bool,
    /// Who owns the process's pipes, with a user namespace.
    pub io_owner: Option<(u32, u32)>,
}

impl RuncOptions {
    /// Packs them for a container's runtime.
    pub fn pack(&self) -> stowd_core::Any {
        let message = runc::Options {
            binary_name: self.binary.clone(),
            root: self.root.clone(),
            systemd_cgroup: self.systemd_cgroup,
            ..runc::Options::default()
        };
        Any::pack(&message).into()
    }
}

impl TaskOptions {
    /// Packs them, added to the options that the container was made with; nothing when they ask for
    /// nothing, so that the container's own count.
    pub(crate) fn pack(&self, container: Option<&stowd_core::Any>) -> Option<stowd_core::Any> {
        if !self.no_pivot_root && self.io_owner.is_none() {
            return None;
        }
        // The daemon takes a task's options in the place of the container's.
        let base = container.cloned().map(Any::from);
        let base = base.and_then(|any| any.unpack::<runc::Options>().ok().flatten());
        let mut message = base.unwrap_or_default();
        message.no_pivot_root |= self.no_pivot_root;
        if let Some((uid, gid)) = self.io_owner {
            (message.io_uid, message.io_gid) = (uid, gid);
        }
        Some(Any::pack(&message).into())
    }
}

/// Packs the path of a configuration file for a runtime that takes one.
pub fn runtime_config(path: impl Into<String>) -> stowd_core::Any {
    let message =
        runtimeoptions::Options { config_path: path.into(), ..runtimeoptions::Options::default() };
    Any::pack(&message).into()
}
