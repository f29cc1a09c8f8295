//! Names of cgroups: what the spec asks for, and the directories it means.

use std::path::{Path, PathBuf};

use crate::layout::{Hierarchy, Layout, Mode, V1_CONTROLLERS};
use crate::{Error, Result, file};

/// Who manages the cgroup tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// This library, by making directories.
    #[default]
    Cgroupfs,
    /// systemd, by units.
    Systemd,
}

/// The spec's `linux.cgroupsPath`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupsPath {
    /// Below the top of each tree.
    Absolute(PathBuf),
    /// Below this process's own cgroup; on pure v2 beside it, as a cgroup with processes in it cannot
    /// have children with controllers.
    Relative(PathBuf),
    /// A systemd scope `prefix-name.scope` in `slice`.
    Systemd {
        /// The parent slice, `system.slice` if empty.
        slice: String,
        /// What the scope's name starts with.
        prefix: String,
        /// The scope's name.
        name: String,
    },
}

/// The directory of a container's cgroup for each controller, in the order they were made.
///
/// Keys are runc's: the v1 controller's name (`name=systemd` for systemd's), and the empty string
/// for the v2 directory, which is the only entry on pure v2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(Vec<(String, PathBuf)>);

impl CgroupsPath {
    /// Understands `path` as `driver` means it; an empty path means `id` below our own cgroup
    /// (cgroupfs) or a scope of that name (systemd).
    pub fn parse(path: &str, id: &str, driver: Driver) -> Result<CgroupsPath> {
        match driver {
            Driver::Cgroupfs if path.is_empty() => Ok(CgroupsPath::Relative(clean(id))),
            Driver::Cgroupfs => {
                let relative = clean(path);
                if relative.as_os_str().is_empty() {
                    return Err(Error::InvalidPath(format!(
                        "cgroupsPath {path:?} is the root cgroup: a container needs one of its own"
                    )));
                }
                Ok(if path.starts_with('/') {
                    CgroupsPath::Absolute(Path::new("/").join(relative))
                } else {
                    CgroupsPath::Relative(relative)
                })
            }
            Driver::Systemd if path.is_empty() => Ok(CgroupsPath::Systemd {
                slice: String::new(),
                prefix: "runc".into(),
                name: id.into(),
            }),
            Driver::Systemd => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) => Ok(CgroupsPath::Systemd {
                        slice: slice.into(),
                        prefix: prefix.into(),
                        name: name.into(),
                    }),
                    _ => Err(Error::InvalidPath(format!(
                        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd \
                         cgroups, got {path:?} instead"
                    ))),
                }
            }
        }
    }

    /// The directories this path means under `layout`, none of which need exist.
    pub fn resolve(&self, layout: &Layout) -> Result<Paths> {
        let own = match self {
            CgroupsPath::Absolute(_) => String::new(),
            CgroupsPath::Relative(_) => file::read_path("/proc/self/cgroup".into())?,
            CgroupsPath::Systemd { slice, prefix, name } => {
                let path = format!("{slice}:{prefix}:{name}");
                let running = file::exists(Path::new("/run/systemd/system"));
                let reason = if running {
                    "this version does not speak to systemd's D-Bus"
                } else {
                    "systemd not running on this host, cannot use systemd cgroups manager"
                };
                return Err(Error::NoSystemd { path, reason });
            }
        };
        let mut paths = Paths::default();
        if layout.mode() != Mode::Unified {
            for controller in V1_CONTROLLERS {
                if let Some(tree) = layout.hierarchy(controller) {
                    let own = own_cgroup(&own, controller).unwrap_or(Path::new("/"));
                    paths.insert(controller, self.below(tree, own));
                }
            }
        }
        if let Some(tree) = layout.hierarchy("") {
            // Beside v1 runc counts the v2 path from the top, so that state.json agrees.
            let own = match layout.mode() {
                Mode::Unified => own_cgroup(&own, "").and_then(Path::parent),
                Mode::Legacy | Mode::Hybrid => None,
            };
            paths.insert("", self.below(tree, own.unwrap_or(Path::new("/"))));
        }
        Ok(paths)
    }

    fn below(&self, tree: &Hierarchy, own: &Path) -> PathBuf {
        match self {
            CgroupsPath::Absolute(path) => {
                tree.mount_point.join(path.strip_prefix("/").unwrap_or(path))
            }
            CgroupsPath::Relative(path) => {
                // In a nested container our path is told from the host's top, which is not what is
                // mounted here.
                let base = own.strip_prefix(&tree.root).unwrap_or(Path::new(""));
                let base = base.strip_prefix("/").unwrap_or(base);
                tree.mount_point.join(base).join(path)
            }
            CgroupsPath::Systemd { .. } => tree.mount_point.clone(),
        }
    }
}

impl Paths {
    /// The directory for `controller`; the empty string names the v2 one.
    pub fn get(&self, controller: &str) -> Option<&Path> {
        self.0.iter().find(|(name, _)| name == controller).map(|(_, path)| path.as_path())
    }

    /// All entries, as `state.json` keeps them in `cgroup_paths`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// Each directory once, though controllers may share it.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().enumerate().filter_map(|(at, (_, path))| {
            let known = self.0[..at].iter().any(|(_, other)| other == path);
            (!known).then_some(path.as_path())
        })
    }

    /// Whether this is a cgroup on pure v2.
    pub fn is_unified(&self) -> bool {
        matches!(self.0.as_slice(), [(name, _)] if name.is_empty())
    }

    pub(crate) fn insert(&mut self, controller: &str, path: PathBuf) {
        self.0.push((controller.to_owned(), path));
    }
}

impl<N: Into<String>, P: Into<PathBuf>> FromIterator<(N, P)> for Paths {
    fn from_iter<I: IntoIterator<Item = (N, P)>>(entries: I) -> Paths {
        Paths(entries.into_iter().map(|(name, path)| (name.into(), path.into())).collect())
    }
}

/// The cgroup that `controller`'s line of a `/proc/PID/cgroup` names.
pub(crate) fn own_cgroup<'a>(text: &'a str, controller: &str) -> Option<&'a Path> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        let path = fields.next()?;
        names.split(',').any(|name| name == controller).then_some(Path::new(path))
    })
}

/// `path` relative to its top, with `.` and `..` resolved by the text alone; `..` stops at the top.
fn clean(path: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroupfs(path: &str) -> CgroupsPath {
        CgroupsPath::parse(path, "id1", Driver::Cgroupfs).unwrap()
    }

    #[test]
    fn paths_are_cleaned_and_never_leave_the_tree() {
        assert_eq!(cgroupfs("/a//b/../c/."), CgroupsPath::Absolute("/a/c".into()));
        assert_eq!(cgroupfs("/../../etc"), CgroupsPath::Absolute("/etc".into()));
        assert_eq!(cgroupfs("../x"), CgroupsPath::Relative("x".into()));
        assert_eq!(cgroupfs(""), CgroupsPath::Relative("id1".into()));
        let root = CgroupsPath::parse("/..", "id1", Driver::Cgroupfs);
        assert!(matches!(root, Err(Error::InvalidPath(_))));
    }

    #[test]
    fn systemd_paths_have_three_parts() {
        let path = CgroupsPath::parse("system.slice:docker:42", "x", Driver::Systemd).unwrap();
        assert_eq!(
            path,
            CgroupsPath::Systemd {
                slice: "system.slice".into(),
                prefix: "docker".into(),
                name: "42".into()
            }
        );
        let wrong = CgroupsPath::parse("/default/x", "x", Driver::Systemd).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \
             \"/default/x\" instead"
        );
        let layout = Layout::unified("/sys/fs/cgroup".into());
        assert!(matches!(path.resolve(&layout), Err(Error::NoSystemd { .. })));
    }

    #[test]
    fn absolute_paths_resolve_per_controller() {
        let text = "\
33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
38 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        let layout = Layout::from_mountinfo(text).unwrap();
        let paths = cgroupfs("/default/web").resolve(&layout).unwrap();
        let cpu = Path::new("/sys/fs/cgroup/cpu,cpuacct/default/web");
        assert_eq!(paths.get("cpu"), Some(cpu));
        assert_eq!(paths.get("cpuacct"), Some(cpu));
        assert_eq!(paths.get(""), Some(Path::new("/sys/fs/cgroup/unified/default/web")));
        assert_eq!(paths.directories().count(), 3);
        assert!(!paths.is_unified());
        let unified = Layout::unified("/sys/fs/cgroup".into());
        assert!(cgroupfs("/a").resolve(&unified).unwrap().is_unified());
    }

    #[test]
    fn own_cgroup_is_found_by_controller() {
        let text = "4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/d:e\n0::/f\n";
        assert_eq!(own_cgroup(text, "cpuacct"), Some(Path::new("/c")));
        assert_eq!(own_cgroup(text, "name=systemd"), Some(Path::new("/d:e")));
        assert_eq!(own_cgroup(text, ""), Some(Path::new("/f")));
        assert_eq!(own_cgroup(text, "pids"), None);
    }
}
