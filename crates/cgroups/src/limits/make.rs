//! The directories of a container's cgroups, with what the kernel wants set in them first.

use std::path::{Path, PathBuf};

use rustix::fs::Mode as Permissions;
use rustix::io::Errno;

use crate::layout::{Layout, Mode};
use crate::path::Paths;
use crate::resources::Resources;
use crate::{Cgroup, Error, FreezerState, Result, file};

/// Makes all directories of `cgroup`; those that were not there before are added to `made`, outermost
/// first.
pub(crate) fn make(
    layout: &Layout,
    cgroup: &Cgroup,
    resources: &Resources,
    made: &mut Vec<PathBuf>,
) -> Result<()> {
    let paths = cgroup.paths();
    let mut reused = false;
    for path in paths.directories() {
        let before = made.len();
        make_all(path, made)?;
        reused |= made.len() == before;
    }
    if reused {
        refuse_occupied(cgroup)?;
    }
    if let (Some(path), Some(tree)) = (paths.get("cpuset"), layout.hierarchy("cpuset")) {
        inherit_cpuset(path, &tree.mount_point, &resources.cpu)?;
    }
    match layout.hierarchy("") {
        Some(tree) if layout.mode() == Mode::Unified => {
            enable_controllers(cgroup.main()?, &tree.mount_point, None)?;
            check_domain(cgroup.main()?, &tree.mount_point, resources)
        }
        Some(tree) => match hybrid_hugetlb(paths, resources) {
            Some(path) => enable_controllers(path, &tree.mount_point, Some("hugetlb")),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// The v2 directory, when it has to take the huge page limits because v1 has no such controller.
pub(super) fn hybrid_hugetlb<'a>(paths: &'a Paths, resources: &Resources) -> Option<&'a Path> {
    let wanted = !resources.hugetlb.is_empty() && paths.get("hugetlb").is_none();
    if wanted { paths.get("") } else { None }
}

fn make_all(path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    match rustix::fs::mkdir(path, Permissions::from_raw_mode(0o755)) {
        Ok(()) => {
            made.push(path.into());
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) if let Some(parent) = path.parent() => {
            make_all(parent, made)?;
            make_all(path, made)
        }
        Err(source) => Err(Error::Io { op: "mkdir", path: path.into(), source }),
    }
}

/// Keeps a new container out of cgroups that are in use: it would share another one's limits, and die
/// with it.
fn refuse_occupied(cgroup: &Cgroup) -> Result<()> {
    match cgroup.all_pids() {
        Ok(pids) if pids.is_empty() => {}
        Ok(pids) => return Err(Error::NotEmpty { count: pids.len() }),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    match cgroup.freezer_state()? {
        FreezerState::Frozen => Err(Error::Frozen),
        FreezerState::Thawed | FreezerState::Undefined => Ok(()),
    }
}

/// Gives a v1 cpuset and those above it their parents' CPUs and memory nodes, where they have none: no
/// process can join an empty cpuset.
fn inherit_cpuset(path: &Path, top: &Path, cpu: &crate::resources::Cpu) -> Result<()> {
    let Some(parent) = path.parent().filter(|_| path != top && path.starts_with(top)) else {
        return Ok(());
    };
    // Mounted with "noprefix", as Android does, the files have short names.
    let names = if file::exists(&path.join("cpuset.cpus")) {
        ["cpuset.cpus", "cpuset.mems"]
    } else {
        ["cpus", "mems"]
    };
    let mut parents_done = false;
    for (name, asked) in names.into_iter().zip([&cpu.cpus, &cpu.mems]) {
        // What was asked for will be written with the other limits.
        let set = !asked.is_empty() || !file::read(path, name)?.trim_ascii().is_empty();
        let inherited = file::read(parent, name)?;
        if inherited.trim_ascii().is_empty() && !parents_done {
            inherit_cpuset(parent, top, &crate::resources::Cpu::default())?;
            parents_done = true;
        }
        if !set {
            let inherited = if parents_done { file::read(parent, name)? } else { inherited };
            file::write(path, name, inherited.trim_ascii())?;
        }
    }
    Ok(())
}

/// Makes `only`, or else every controller the v2 tree has, available in the cgroup at `path`.
fn enable_controllers(path: &Path, top: &Path, only: Option<&str>) -> Result<()> {
    let available = match only {
        Some(name) => name.to_owned(),
        None => file::read(top, CONTROLLERS)?,
    };
    let here = file::read(path, CONTROLLERS)?;
    let missing = |name: &&str| !here.split_ascii_whitespace().any(|known| known == *name);
    let missing: Vec<&str> = available.split_ascii_whitespace().filter(missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all: String = missing.iter().flat_map(|name| ["+", name, " "]).collect();
    let mut parents: Vec<&Path> =
        path.ancestors().skip(1).take_while(|parent| parent.starts_with(top)).collect();
    parents.reverse();
    for parent in parents {
        if file::write(parent, SUBTREE, all.trim_ascii_end()).is_err() {
            // One that cannot be enabled (not delegated, or busy with real-time tasks) shall not
            // keep the others away. Whoever needs it fails when writing its limit, and says so.
            for name in &missing {
                _ = file::write(parent, SUBTREE, &format!("+{name}"));
            }
        }
    }
    Ok(())
}

/// Deals with a v2 cgroup that is no domain, because a threaded or occupied cgroup is above it.
fn check_domain(path: &Path, top: &Path, resources: &Resources) -> Result<()> {
    // The top has no such file.
    let kind = |path: &Path| -> Result<String> {
        Ok(file::read_if_there(path, TYPE)?.unwrap_or_default())
    };
    if kind(path)?.trim_ascii() == "domain" {
        return Ok(());
    }
    let below = |parent: &&Path| parent.starts_with(top) && **parent != *top;
    let mut chain: Vec<&Path> = path.ancestors().take_while(below).collect();
    chain.reverse();
    for current in chain {
        let kind = kind(current)?;
        let kind = kind.trim_ascii();
        match kind {
            "domain invalid" if needs_domain(resources) => {
                return Err(Error::Unsupported(format!(
                    "cannot enter cgroupv2 {current:?} with domain controllers -- it is in an \
                     invalid state"
                )));
            }
            // Not a domain as it should be, but better than no container.
            "domain invalid" => _ = file::write(current, TYPE, "threaded"),
            "threaded" | "domain threaded" if needs_domain(resources) => {
                return Err(Error::Unsupported(format!(
                    "cannot enter cgroupv2 {current:?} with domain controllers -- it is in {kind} \
                     mode"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn needs_domain(resources: &Resources) -> bool {
    let Resources { memory, cpu, block_io: io, hugetlb, .. } = resources;
    memory.limit.or(memory.reservation).or(memory.swap).is_some_and(|value| value != 0)
        || cpu.shares.or(cpu.period).or(cpu.burst).is_some()
        || cpu.quota.or(cpu.idle).is_some()
        || io.weight.is_some()
        || !io.weight_device.is_empty()
        || super::throttles(resources).iter().any(|(.., list)| !list.is_empty())
        || !hugetlb.is_empty()
}

const CONTROLLERS: &str = "cgroup.controllers";
const SUBTREE: &str = "cgroup.subtree_control";
const TYPE: &str = "cgroup.type";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_enabled_from_the_top_down() {
        let top = tempfile::tempdir().unwrap();
        let leaf = top.path().join("default/web");
        std::fs::create_dir_all(&leaf).unwrap();
        let put = |path: &Path, name: &str, text: &str| {
            std::fs::write(path.join(name), text).unwrap();
        };
        put(top.path(), CONTROLLERS, "cpuset cpu io memory pids\n");
        put(top.path(), SUBTREE, "");
        put(top.path().join("default").as_path(), SUBTREE, "");
        put(&leaf, CONTROLLERS, "cpu pids\n");
        enable_controllers(&leaf, top.path(), None).unwrap();
        let got = |path: &Path| std::fs::read_to_string(path.join(SUBTREE)).unwrap();
        assert_eq!(got(top.path()), "+cpuset +io +memory");
        assert_eq!(got(&top.path().join("default")), "+cpuset +io +memory");
        assert!(!leaf.join(SUBTREE).exists());
    }

    #[test]
    fn empty_cpusets_get_their_parents() {
        let top = tempfile::tempdir().unwrap();
        let leaf = top.path().join("a/b");
        std::fs::create_dir_all(&leaf).unwrap();
        let levels = [(top.path().to_owned(), "0-3\n", "0\n"), (top.path().join("a"), "\n", "\n")];
        for (path, cpus, mems) in levels.iter().chain([&(leaf.clone(), "\n", "\n")]) {
            std::fs::write(path.join("cpuset.cpus"), cpus).unwrap();
            std::fs::write(path.join("cpuset.mems"), mems).unwrap();
        }
        let cpu = crate::resources::Cpu { cpus: "1".into(), ..Default::default() };
        inherit_cpuset(&leaf, top.path(), &cpu).unwrap();
        let read = |path: &Path, name: &str| {
            std::fs::read_to_string(path.join(name)).unwrap().trim().to_owned()
        };
        let middle = top.path().join("a");
        assert_eq!(read(&middle, "cpuset.cpus"), "0-3");
        assert_eq!(read(&middle, "cpuset.mems"), "0");
        assert_eq!(read(&leaf, "cpuset.cpus"), "", "left to the limits");
        assert_eq!(read(&leaf, "cpuset.mems"), "0");
    }
}
