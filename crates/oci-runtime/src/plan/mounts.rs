//! The mounts below the container's root, prepared as far as the caller's namespaces allow.
//!
//! A bind mount is made here, detached, with the caller's rights and its view of the host: the child
//! only attaches it. That also is what makes sources work that a user namespace's root could not
//! reach, and it leaves no moment at which a read-only mount is writable.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use stowd_cgroups::{Layout, Mode, Paths};
use stowd_sys::mount_attr::{self, MountAttr, Reach};

use super::idmap::IdMaps;
use super::options::{
    self, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE, MountOptions,
};
use super::{c_string, copy_up, wrong};
use crate::Error;
use crate::error::{Result, StartError, errno_text};
use crate::spec::Mount;

/// One mount to make, in the spec's order.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// Where, for messages.
    pub(crate) destination: String,
    /// What, for messages.
    pub(crate) source: String,
    /// Where, below the root.
    pub(crate) target: CString,
    /// What to do.
    pub(crate) kind: MountKind,
    /// `MS_*` to change its propagation to, one after the other.
    pub(crate) propagation: Vec<u32>,
    /// For all mounts of the tree.
    pub(crate) recursive: MountAttr,
    /// Whether it becomes read-only only when the root is complete.
    pub(crate) read_only_later: bool,
}

/// How a mount is made.
#[derive(Debug)]
pub(crate) enum MountKind {
    /// Attach a tree made here.
    Attach {
        /// The detached tree.
        tree: OwnedFd,
        /// Whether its root is a directory.
        shape: Shape,
    },
    /// Mount a file system.
    Filesystem(Filesystem),
    /// The v2 tree, or what of it may be seen where it cannot be mounted.
    Unified {
        /// The mount to try.
        filesystem: Filesystem,
        /// The directory to bind instead.
        instead: CString,
    },
    /// The v1 trees side by side in a tmpfs.
    Trees {
        /// Each tree.
        trees: Vec<CgroupTree>,
        /// Names of controllers that share a tree, and the tree's.
        links: Vec<(CString, CString)>,
        /// Whether the tmpfs is read-only in the end.
        read_only: bool,
    },
}

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// The arguments of `mount(2)`.
#[derive(Debug)]
pub(crate) struct Filesystem {
    pub(crate) kind: CString,
    pub(crate) source: CString,
    pub(crate) flags: u32,
    pub(crate) data: CString,
    /// Whether it must not be mounted through a symbolic link (proc and sysfs).
    pub(crate) plain_directory: bool,
    /// Whether it gets the mode of the directory that it covers (tmpfs).
    pub(crate) copies_mode: bool,
}

/// One v1 tree for the container's `/sys/fs/cgroup`.
#[derive(Debug)]
pub(crate) struct CgroupTree {
    /// The directory's name there.
    pub(crate) name: CString,
    /// How it comes there.
    pub(crate) kind: CgroupTreeKind,
}

/// How a v1 tree comes into the container.
#[derive(Debug)]
pub(crate) enum CgroupTreeKind {
    /// A bind mount of the container's own directory.
    Attach(OwnedFd),
    /// A new mount, whose root is that of the cgroup namespace.
    Mount {
        /// The options that name the controllers.
        data: CString,
        /// `MS_*`.
        flags: u32,
        /// As shown in mountinfo.
        source: CString,
    },
}

/// What all mounts of a container are made with.
pub(crate) struct MountContext<'a> {
    pub(crate) bundle: &'a Path,
    pub(crate) label: &'a str,
    /// `linux.rootfsPropagation` as `MS_*`.
    pub(crate) root_propagation: Option<u32>,
    pub(crate) user_namespace: bool,
    pub(crate) cgroup_namespace: bool,
    pub(crate) cgroup: &'a Paths,
    pub(crate) layout: &'a Layout,
    pub(crate) id_maps: &'a mut IdMaps,
    /// The root, as [`root_tree`] gives it.
    pub(crate) tree: BorrowedFd<'a>,
}

impl MountContext<'_> {
    /// Prepares one mount of the spec.
    pub(crate) fn prepare(&mut self, mount: &Mount) -> Result<MountStep> {
        let parsed = MountOptions::parse(&mount.options);
        for text in [&mount.destination, &mount.source, &mount.kind] {
            if text.contains('\0') {
                return Err(wrong("mount field contains null byte"));
            }
        }
        let clean = clean(&mount.destination);
        if clean == Path::new("/") {
            return Err(self.failed(mount, "the root itself cannot be mounted over"));
        }
        let kind = if parsed.is_bind() {
            self.bind(mount, &parsed)?
        } else {
            if parsed.idmap.is_some()
                || !mount.uid_mappings.is_empty()
                || !mount.gid_mappings.is_empty()
            {
                return Err(wrong("id-mapped mounts are only supported for bind-mounts"));
            }
            self.filesystem(mount, &parsed)?
        };
        check_inside_proc(&clean, &kind).map_err(|reason| self.failed(mount, &reason))?;
        let is_tmpfs = mount.kind == "tmpfs" || clean == Path::new("/dev");
        let later = !parsed.is_bind() && is_tmpfs && parsed.flags & MS_RDONLY != 0;
        Ok(MountStep {
            destination: mount.destination.clone(),
            source: mount.source.clone(),
            target: c_string("mount destination", &clean.to_string_lossy())?,
            propagation: match kind {
                // Done before it is attached.
                MountKind::Attach { .. } => Vec::new(),
                _ => parsed.propagation,
            },
            recursive: match kind {
                MountKind::Attach { .. } => MountAttr::default(),
                _ => parsed.recursive,
            },
            kind,
            read_only_later: later,
        })
    }

    fn bind(&mut self, mount: &Mount, parsed: &MountOptions) -> Result<MountKind> {
        if !parsed.data.is_empty() {
            return Err(wrong("bind mounts cannot have any filesystem-specific options applied"));
        }
        let source = self.bundle.join(&mount.source);
        let reach = if parsed.flags & MS_REC != 0 { Reach::Tree } else { Reach::One };
        let failed = |what: &str, errno| {
            let what = format!("{what} {}: {}", source.display(), errno_text(errno));
            self.failed(mount, &what)
        };
        let tree = clone_tree(&source, reach).map_err(|errno| failed("stat", errno))?;
        let stat = fstat(&tree).map_err(|errno| failed("stat", errno))?;
        let shape = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Shape::Directory,
            _ => Shape::File,
        };
        if clean(&mount.destination) == Path::new("/proc") {
            let kind = fstatfs(&tree).map_err(|errno| failed("statfs", errno))?.f_type;
            if kind as u64 != PROC_SUPER_MAGIC {
                let what =
                    format!("{:?} cannot be mounted because it is not of type proc", "/proc");
                return Err(self.failed(mount, &what));
            }
        }
        self.leave_peers(&tree).map_err(|errno| failed("change propagation of", errno))?;
        let mapped = (!mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty())
            .then_some(Reach::One);
        if let Some(reach) = parsed.idmap.or(mapped) {
            let mapping = self.id_maps.get(&mount.uid_mappings, &mount.gid_mappings)?;
            mount_attr::map_ids(&tree, reach, mapping).map_err(|errno| {
                self.failed(
                    mount,
                    &format!(
                        "failed to set MOUNT_ATTR_IDMAP on {}: {}",
                        source.display(),
                        errno_text(errno)
                    ),
                )
            })?;
        }
        let failed = |errno| {
            let what = format!("failed to set user-requested vfs flags: {}", errno_text(errno));
            self.failed(mount, &what)
        };
        if let Some(attr) = parsed.bind_attr() {
            // With a user namespace the mount keeps what its source has, as it would if the
            // namespace's root had made it.
            let attr = if self.user_namespace { parsed.bind_attr_kept() } else { attr };
            match mount_attr::set_attr(&tree, Reach::One, &attr) {
                Err(Errno::PERM) if !self.user_namespace => {
                    mount_attr::set_attr(&tree, Reach::One, &parsed.bind_attr_kept())
                }
                result => result,
            }
            .map_err(failed)?;
        }
        for change in &parsed.propagation {
            set_propagation(&tree, *change).map_err(failed)?;
        }
        if parsed.recursive != MountAttr::default() {
            mount_attr::set_attr(&tree, Reach::Tree, &parsed.recursive).map_err(failed)?;
        }
        Ok(MountKind::Attach { tree, shape })
    }

    fn filesystem(&self, mount: &Mount, parsed: &MountOptions) -> Result<MountKind> {
        let kind = match mount.kind.as_str() {
            "" => return Err(self.failed(mount, "no file system type, and no bind option")),
            "cgroup" | "cgroup2" if self.layout.mode() == Mode::Unified => "cgroup2",
            "cgroup" => return self.cgroup_trees(mount, parsed),
            kind => kind,
        };
        let special = matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup2");
        let mut data = parsed.data.clone();
        if !self.label.is_empty() && !special {
            if !data.is_empty() {
                data.push(',');
            }
            data.push_str(&format!("context={:?}", self.label));
        }
        let mut flags = parsed.flags;
        if kind == "tmpfs" || clean(&mount.destination) == Path::new("/dev") {
            flags &= !MS_RDONLY;
        }
        let filesystem = Filesystem {
            kind: c_string("mount type", kind)?,
            source: c_string("mount source", &mount.source)?,
            flags,
            data: c_string("mount options", &data)?,
            plain_directory: matches!(kind, "proc" | "sysfs"),
            copies_mode: kind == "tmpfs",
        };
        if parsed.copy_up && kind == "tmpfs" {
            return self.copied(mount, parsed, &filesystem, &data);
        }
        if kind == "cgroup2" && self.layout.mode() == Mode::Unified {
            let own = self.cgroup.get("").filter(|_| self.cgroup_namespace);
            let instead = own.or(self.layout.hierarchy("").map(|tree| tree.mount_point.as_path()));
            let instead = instead.unwrap_or(Path::new("/sys/fs/cgroup")).to_string_lossy();
            let instead = c_string("cgroup", &instead)?;
            return Ok(MountKind::Unified { filesystem, instead });
        }
        Ok(MountKind::Filesystem(filesystem))
    }

    /// A tmpfs with what it covers.
    fn copied(
        &self,
        mount: &Mount,
        parsed: &MountOptions,
        filesystem: &Filesystem,
        data: &str,
    ) -> Result<MountKind> {
        let target = c_string("mount destination", &clean(&mount.destination).to_string_lossy())?;
        let attributes = options::attributes(filesystem.flags);
        let made = copy_up::tmpfs(self.tree, &target, &filesystem.source, data, attributes);
        let failed = |error: &dyn std::fmt::Display| {
            self.failed(mount, &format!("copy up {}: {error}", mount.destination))
        };
        let tree = made.map_err(|error| failed(&crate::error::io_text(&error)))?;
        for change in &parsed.propagation {
            set_propagation(&tree, *change).map_err(|errno| failed(&errno_text(errno)))?;
        }
        if parsed.recursive != MountAttr::default() {
            mount_attr::set_attr(&tree, Reach::Tree, &parsed.recursive)
                .map_err(|errno| failed(&errno_text(errno)))?;
        }
        Ok(MountKind::Attach { tree, shape: Shape::Directory })
    }

    fn cgroup_trees(&self, mount: &Mount, parsed: &MountOptions) -> Result<MountKind> {
        let mut trees = Vec::new();
        let mut links = Vec::new();
        for hierarchy in self.layout.hierarchies() {
            let Some(controller) = hierarchy.controllers.first().filter(|name| !name.is_empty())
            else {
                continue;
            };
            let name = hierarchy.mount_point.file_name().unwrap_or_default().to_string_lossy();
            let kind = if self.cgroup_namespace {
                let source = if controller == "name=systemd" { "systemd" } else { "cgroup" };
                CgroupTreeKind::Mount {
                    data: c_string("cgroup", &hierarchy.controllers.join(","))?,
                    flags: MS_NOSUID | MS_NODEV | MS_NOEXEC | parsed.flags & MS_RDONLY,
                    source: c_string("cgroup", source)?,
                }
            } else {
                let Some(own) = self.cgroup.get(controller) else { continue };
                let tree = clone_tree(own, Reach::Tree)
                    .and_then(|tree| {
                        self.leave_peers(&tree)?;
                        if let Some(attr) = parsed.bind_attr() {
                            mount_attr::set_attr(&tree, Reach::One, &attr)?;
                        }
                        for change in &parsed.propagation {
                            set_propagation(&tree, *change)?;
                        }
                        Ok(tree)
                    })
                    .map_err(|errno| {
                        let what = format!("bind {}: {}", own.display(), errno_text(errno));
                        self.failed(mount, &what)
                    })?;
                CgroupTreeKind::Attach(tree)
            };
            if name.contains(',') {
                for controller in name.split(',') {
                    links.push((c_string("cgroup", controller)?, c_string("cgroup", &name)?));
                }
            }
            trees.push(CgroupTree { name: c_string("cgroup", &name)?, kind });
        }
        Ok(MountKind::Trees { trees, links, read_only: parsed.flags & MS_RDONLY != 0 })
    }

    /// Keeps mount events of a tree cloned in the caller's namespace from reaching its origin, as
    /// they would not if it had been cloned in the container's.
    fn leave_peers(&self, tree: &OwnedFd) -> rustix::io::Result<()> {
        leave_peers(tree, self.root_propagation)
    }

    fn failed(&self, mount: &Mount, reason: &str) -> Error {
        start(format!(
            "error mounting {:?} to rootfs at {:?}: {reason}",
            mount.source, mount.destination
        ))
    }
}

/// The root file system as a detached tree.
pub(crate) fn root_tree(path: &Path, propagation: Option<u32>) -> Result<OwnedFd> {
    let failed =
        |what: String, errno| start(format!("error preparing rootfs: {what}{}", errno_text(errno)));
    let tree = clone_tree(path, Reach::Tree)
        .map_err(|errno| failed(format!("open_tree {}: ", path.display()), errno))?;
    leave_peers(&tree, propagation).map_err(|errno| failed(String::new(), errno))?;
    Ok(tree)
}

fn leave_peers(tree: &OwnedFd, propagation: Option<u32>) -> rustix::io::Result<()> {
    match propagation.unwrap_or(MS_SLAVE | MS_REC) {
        flags if flags & options::MS_SHARED != 0 => Ok(()),
        flags if flags & MS_SLAVE != 0 => set_propagation(tree, MS_SLAVE | MS_REC),
        _ => set_propagation(tree, options::MS_PRIVATE | MS_REC),
    }
}

/// Changes the propagation of `mount`, of the tree below too if `change` has `MS_REC`.
pub(crate) fn set_propagation(mount: &OwnedFd, change: u32) -> rustix::io::Result<()> {
    let reach = if change & MS_REC != 0 { Reach::Tree } else { Reach::One };
    let attr = MountAttr { propagation: u64::from(change & !MS_REC), ..MountAttr::default() };
    mount_attr::set_attr(mount, reach, &attr)
}

/// `path` as an absolute one without `.`, `..` and double slashes, by its text alone.
pub(crate) fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn clone_tree(path: &Path, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Reach::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// Refuses what would let a container pretend to be another process or change the host's kernel.
fn check_inside_proc(destination: &Path, kind: &MountKind) -> Result<(), String> {
    let Ok(inside) = destination.strip_prefix("/proc") else { return Ok(()) };
    if inside.as_os_str().is_empty() {
        return match kind {
            // Its source was looked at when it was cloned.
            MountKind::Attach { .. } => Ok(()),
            MountKind::Filesystem(filesystem) if filesystem.kind.as_c_str() == c"proc" => Ok(()),
            _ => Err(format!("{destination:?} cannot be mounted because it is not of type proc")),
        };
    }
    // What lxcfs serves.
    const ALLOWED: [&str; 10] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    if ALLOWED.iter().any(|allowed| inside == Path::new(allowed)) {
        return Ok(());
    }
    Err(format!("{destination:?} cannot be mounted because it is inside /proc"))
}

fn start(text: String) -> Error {
    Error::Start(StartError::in_init(text))
}

pub(crate) const PROC_SUPER_MAGIC: u64 = 0x9fa0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_cleaned() {
        assert_eq!(clean("a/./b/../c"), Path::new("/a/c"));
        assert_eq!(clean("/../.."), Path::new("/"));
    }

    #[test]
    fn only_lxcfs_may_mount_inside_proc() {
        let kind = || MountKind::Trees { trees: Vec::new(), links: Vec::new(), read_only: false };
        assert!(check_inside_proc(Path::new("/proc/meminfo"), &kind()).is_ok());
        assert!(check_inside_proc(Path::new("/proc/self/attr"), &kind()).is_err());
        assert!(check_inside_proc(Path::new("/proc"), &kind()).is_err());
        assert!(check_inside_proc(Path::new("/procfs"), &kind()).is_ok());
    }
}
