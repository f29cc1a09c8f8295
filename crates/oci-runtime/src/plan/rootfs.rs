//! The container's view of files, prepared.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, makedev};
use rustix::mount::{OpenTreeFlags, open_tree};
use stowd_cgroups::{Layout, Paths};
use stowd_sys::clone::Namespaces;

use super::idmap::IdMaps;
use super::mounts::{MountContext, MountStep, clean, root_tree};
use super::namespaces::NamespacePlan;
use super::options::{self, MS_REC, MS_SHARED, MS_SLAVE};
use super::{c_string, wrong};
use crate::error::{Error, Result};
use crate::options::RootSwitch;
use crate::spec::{Linux, Spec};

/// The container's view of files.
#[derive(Debug)]
pub(crate) struct RootPlan {
    /// The root's directory on the host.
    pub(crate) path: CString,
    /// The root's tree, detached.
    pub(crate) tree: OwnedFd,
    /// What the host's mounts are changed to in the container's namespace.
    pub(crate) host_propagation: u32,
    /// What the root is changed to in the end.
    pub(crate) propagation: Option<u32>,
    pub(crate) read_only: bool,
    pub(crate) switch: RootSwitch,
    pub(crate) mounts: Vec<MountStep>,
    /// Whether `/dev` is the container's own, so that nodes and links are made there.
    pub(crate) own_dev: bool,
    pub(crate) devices: Vec<DevicePlan>,
    /// Whether the host has `/proc/kcore`.
    pub(crate) core_link: bool,
    pub(crate) read_only_paths: Vec<CString>,
    pub(crate) masked_paths: Vec<CString>,
    /// The SELinux context of the file system that masks directories.
    pub(crate) mask_label: Option<CString>,
    /// Where the working directory will be, made if it is missing.
    pub(crate) cwd: CString,
}

/// A device node.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    pub(crate) path: CString,
    pub(crate) kind: FileType,
    pub(crate) number: Dev,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The host's node, where a user namespace does not let one be made.
    pub(crate) bind: Option<OwnedFd>,
}

/// What a root is planned from.
pub(crate) struct RootContext<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) linux: &'a Linux,
    pub(crate) bundle: &'a Path,
    pub(crate) cgroup: &'a Paths,
    pub(crate) namespaces: &'a NamespacePlan,
    pub(crate) switch: RootSwitch,
}

/// Prepares all that can be prepared outside.
pub(crate) fn plan(context: &RootContext<'_>) -> Result<RootPlan> {
    let RootContext { spec, linux, bundle, cgroup, namespaces, switch } = *context;
    let root = spec.root.as_ref().filter(|root| !root.path.is_empty());
    let root = root.ok_or_else(|| wrong("root must be specified"))?;
    let path = std::fs::canonicalize(bundle.join(&root.path))
        .map_err(|source| Error::file("invalid rootfs: stat", &bundle.join(&root.path), source))?;
    let propagation = match linux.rootfs_propagation.as_str() {
        "" => None,
        name => Some(
            options::propagation(name)
                .ok_or_else(|| wrong(&format!("rootfsPropagation={name} is not supported")))?,
        ),
    };
    let joined = linux.namespaces.iter().find(|one| one.kind == "user" && !one.path.is_empty());
    let mut id_maps = IdMaps::new(
        &linux.uid_mappings,
        &linux.gid_mappings,
        joined.map(|namespace| namespace.path.as_str().into()),
    );
    let user_namespace = namespaces.has(Namespaces::USER);
    let tree = root_tree(&path, propagation)?;
    let mut mounts = MountContext {
        bundle,
        label: &linux.mount_label,
        root_propagation: propagation,
        user_namespace,
        cgroup_namespace: namespaces.has(Namespaces::CGROUP),
        cgroup,
        layout: Layout::get().map_err(Error::cgroup("cgroups"))?,
        id_maps: &mut id_maps,
        tree: tree.as_fd(),
    };
    let steps =
        spec.mounts.iter().map(|mount| mounts.prepare(mount)).collect::<Result<Vec<_>>>()?;
    let own_dev = !spec.mounts.iter().any(|mount| {
        clean(&mount.destination) == Path::new("/dev")
            && mount.options.iter().any(|option| option == "bind" || option == "rbind")
    });
    let paths = |what: &str, list: &[String]| -> Result<Vec<CString>> {
        list.iter()
            .map(|path| {
                if !path.starts_with('/') {
                    return Err(wrong(&format!("{what} path {path:?} is not absolute")));
                }
                c_string(what, path)
            })
            .collect()
    };
    let mask_label = match linux.mount_label.as_str() {
        "" => None,
        label => Some(c_string("mountLabel", label)?),
    };
    let cwd = spec.process.as_ref().map_or("/", |process| process.cwd.as_str());
    Ok(RootPlan {
        path: c_string("root", &path.to_string_lossy())?,
        tree,
        // The host's mounts never hear of the container's, whatever its root is shared with.
        host_propagation: match propagation {
            Some(flags) if flags & (MS_SHARED | MS_SLAVE) == 0 => options::MS_PRIVATE | MS_REC,
            _ => MS_SLAVE | MS_REC,
        },
        propagation,
        read_only: root.readonly,
        switch,
        mounts: steps,
        own_dev,
        devices: if own_dev { devices(linux, user_namespace)? } else { Vec::new() },
        core_link: Path::new("/proc/kcore").exists(),
        read_only_paths: paths("readonlyPaths", &linux.readonly_paths)?,
        masked_paths: paths("maskedPaths", &linux.masked_paths)?,
        mask_label,
        cwd: c_string("cwd", &clean(cwd).to_string_lossy())?,
    })
}

/// The spec's devices, after those that every container has.
fn devices(linux: &Linux, user_namespace: bool) -> Result<Vec<DevicePlan>> {
    const DEFAULTS: [(&str, u32, u32); 6] = [
        ("/dev/null", 1, 3),
        ("/dev/random", 1, 8),
        ("/dev/full", 1, 7),
        ("/dev/tty", 5, 0),
        ("/dev/zero", 1, 5),
        ("/dev/urandom", 1, 9),
    ];
    let mut plans = Vec::with_capacity(DEFAULTS.len() + linux.devices.len());
    for (path, major, minor) in DEFAULTS {
        if linux.devices.iter().any(|device| clean(&device.path) == Path::new(path)) {
            continue;
        }
        plans.push(DevicePlan {
            path: c_string("device", path)?,
            kind: FileType::CharacterDevice,
            number: makedev(major, minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
            bind: None,
        });
    }
    for device in &linux.devices {
        let kind = match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            other => return Err(wrong(&format!("{other:?} is not a valid device type"))),
        };
        let path = clean(&device.path);
        // What becomes a link to the container's own devpts is no node.
        if path == Path::new("/dev/ptmx") {
            continue;
        }
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| wrong(&format!("bad device number {value}")))
        };
        plans.push(DevicePlan {
            path: c_string("device", &path.to_string_lossy())?,
            kind,
            number: match kind {
                FileType::Fifo => 0,
                _ => makedev(number(device.major)?, number(device.minor)?),
            },
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
            bind: None,
        });
    }
    if user_namespace {
        for plan in &mut plans {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let path = plan.path.as_c_str();
            plan.bind = Some(open_tree(CWD, path, flags).map_err(|errno| {
                Error::file("open", Path::new(&*path.to_string_lossy()), errno)
            })?);
        }
    }
    Ok(plans)
}
