//! Where the kernel's cgroup hierarchies are mounted.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FsWord, statfs};

use crate::{Error, Result, file};

/// Which cgroup versions are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// v1 only.
    Legacy,
    /// v1 for most controllers and a v2 tree beside them.
    Hybrid,
    /// v2 only.
    Unified,
}

/// One mounted cgroup tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The v1 controllers that share this tree (`cpu`, `cpuacct`, `name=systemd`, ...) in the
    /// kernel's order; one empty string for the v2 tree.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The cgroup at the mount point: `/` but in nested containers.
    pub root: PathBuf,
}

/// All cgroup trees of this machine, as this process sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    mode: Mode,
    hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Detects the layout once per process and remembers it.
    pub fn get() -> Result<&'static Layout> {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        if let Some(layout) = LAYOUT.get() {
            return Ok(layout);
        }
        let layout = Layout::detect()?;
        Ok(LAYOUT.get_or_init(|| layout))
    }

    /// Looks at the standard mount points and, where they do not tell, at `/proc/self/mountinfo`
    /// (whose length grows with the number of containers).
    pub fn detect() -> Result<Layout> {
        let root = Path::new(STANDARD_ROOT);
        if kind(root) == Some(CGROUP2_SUPER_MAGIC) {
            return Ok(Layout::unified(root.to_owned()));
        }
        if let Some(layout) = standard() {
            return Ok(layout);
        }
        Layout::from_mountinfo(&file::read_path("/proc/self/mountinfo".into())?)
    }

    /// Understands the text of a `/proc/PID/mountinfo`.
    pub fn from_mountinfo(text: &str) -> Result<Layout> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified: Option<Hierarchy> = None;
        for line in text.lines() {
            let Some(mount) = parse_mount(line) else { continue };
            if mount.controllers == [""] {
                let standard = mount.mount_point == Path::new(STANDARD_ROOT);
                if unified.is_none() || standard {
                    unified = Some(mount);
                }
                continue;
            }
            // A controller can be mounted more than once; the standard place wins, else the first.
            match hierarchies.iter_mut().find(|known| known.controllers == mount.controllers) {
                None => hierarchies.push(mount),
                Some(known) if is_standard(&mount) && !is_standard(known) => *known = mount,
                Some(_) => {}
            }
        }
        match unified {
            Some(tree)
                if hierarchies.is_empty() || tree.mount_point == Path::new(STANDARD_ROOT) =>
            {
                Ok(Layout { mode: Mode::Unified, hierarchies: vec![tree] })
            }
            Some(tree) => {
                hierarchies.push(tree);
                Ok(Layout { mode: Mode::Hybrid, hierarchies })
            }
            None if hierarchies.is_empty() => Err(Error::NoCgroups),
            None => Ok(Layout { mode: Mode::Legacy, hierarchies }),
        }
    }

    /// A layout with the one v2 tree at `mount_point`.
    pub fn unified(mount_point: PathBuf) -> Layout {
        let tree = Hierarchy { controllers: vec![String::new()], mount_point, root: "/".into() };
        Layout { mode: Mode::Unified, hierarchies: vec![tree] }
    }

    /// Which versions are in use.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mounted trees; the v2 tree, where there is one, comes last.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The tree that has `controller`; the empty string names the v2 tree.
    pub fn hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|tree| tree.controllers.iter().any(|name| name == controller))
    }
}

/// The v1 controllers a container joins, and the two named trees that runc joins too.
pub(crate) const V1_CONTROLLERS: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "name=systemd",
    "misc",
];

const STANDARD_ROOT: &str = "/sys/fs/cgroup";
const CGROUP_SUPER_MAGIC: FsWord = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// Reads the usual v1 or hybrid layout off `/proc/self/cgroup` and the directories under
/// `/sys/fs/cgroup`; `None` when anything is not where it usually is.
fn standard() -> Option<Layout> {
    let own = file::read_path("/proc/self/cgroup".into()).ok()?;
    let mut hierarchies = Vec::with_capacity(16);
    let mut unified = None;
    for line in own.lines() {
        let names = line.split(':').nth(1)?;
        if names.is_empty() {
            let mount_point = PathBuf::from("/sys/fs/cgroup/unified");
            if kind(&mount_point) == Some(CGROUP2_SUPER_MAGIC) && is_tree_root(&mount_point) {
                let controllers = vec![String::new()];
                unified = Some(Hierarchy { controllers, mount_point, root: "/".into() });
            }
            continue;
        }
        if !names.split(',').any(|name| V1_CONTROLLERS.contains(&name)) {
            continue;
        }
        let folder = names.strip_prefix("name=").unwrap_or(names);
        let mount_point = Path::new(STANDARD_ROOT).join(folder);
        if kind(&mount_point) != Some(CGROUP_SUPER_MAGIC) || !is_tree_root(&mount_point) {
            return None;
        }
        let controllers = names.split(',').map(str::to_owned).collect();
        hierarchies.push(Hierarchy { controllers, mount_point, root: "/".into() });
    }
    if hierarchies.is_empty() {
        return None;
    }
    let mode = if unified.is_some() { Mode::Hybrid } else { Mode::Legacy };
    hierarchies.extend(unified);
    Some(Layout { mode, hierarchies })
}

fn kind(path: &Path) -> Option<FsWord> {
    statfs(path).ok().map(|stat| stat.f_type)
}

/// Whether `path` shows a hierarchy's topmost cgroup, which always has inode 1; a mount of a cgroup
/// further down (a bind mount, a cgroup namespace) has not.
fn is_tree_root(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| stat.st_ino == 1)
}

fn is_standard(tree: &Hierarchy) -> bool {
    tree.mount_point.starts_with(STANDARD_ROOT)
}

/// One mountinfo line, if it is a cgroup mount with a controller of ours.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1).unwrap_or_default();
    let controllers: Vec<String> = match kind {
        "cgroup2" => vec![String::new()],
        "cgroup" => options
            .split(',')
            .filter(|option| V1_CONTROLLERS.contains(option))
            .map(str::to_owned)
            .collect(),
        _ => return None,
    };
    if controllers.is_empty() {
        return None;
    }
    let mut left = left.split(' ').skip(3);
    let root = unescape(left.next()?);
    let mount_point = unescape(left.next()?);
    Some(Hierarchy { controllers, mount_point, root })
}

/// Undoes mountinfo's octal escapes of blank, tab, newline and backslash.
fn unescape(field: &str) -> PathBuf {
    if !field.contains('\\') {
        return field.into();
    }
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = escapes.iter().find(|(code, _)| rest.starts_with(code));
        let (skip, plain) = known.map_or((1, "\\"), |(code, plain)| (code.len(), *plain));
        text.push_str(plain);
        rest = &rest[skip..];
    }
    text.push_str(rest);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /mnt/else rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
34 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
37 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
38 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
39 31 0:39 / /sys/fs/cgroup/odd rw - cgroup cgroup rw,name=other
";

    #[test]
    fn hybrid_has_v1_trees_and_the_unified_one_last() {
        let layout = Layout::from_mountinfo(HYBRID).unwrap();
        assert_eq!(layout.mode(), Mode::Hybrid);
        let cpu = layout.hierarchy("cpuacct").unwrap();
        assert_eq!(cpu.mount_point, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(cpu.controllers, ["cpu", "cpuacct"]);
        assert_eq!(layout.hierarchies().last().unwrap().controllers, [""]);
        assert!(layout.hierarchy("name=systemd").is_some());
        assert!(layout.hierarchy("name=other").is_none());
    }

    #[test]
    fn unified_wins_at_the_standard_place() {
        let text =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let layout = Layout::from_mountinfo(text).unwrap();
        assert_eq!(layout, Layout::unified("/sys/fs/cgroup".into()));
        assert!(matches!(Layout::from_mountinfo(""), Err(Error::NoCgroups)));
    }

    #[test]
    fn a_nested_mount_keeps_its_root_and_odd_names() {
        let text = "30 23 0:26 /docker/a\\040b /cg/my\\134pids rw - cgroup cgroup rw,pids\n";
        let layout = Layout::from_mountinfo(text).unwrap();
        let tree = layout.hierarchy("pids").unwrap();
        assert_eq!(tree.root, Path::new("/docker/a b"));
        assert_eq!(tree.mount_point, Path::new("/cg/my\\pids"));
        assert_eq!(layout.mode(), Mode::Legacy);
    }
}
