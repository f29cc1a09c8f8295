//! Killing what is in a dead shim's cgroup; and putting a shim into one.
//!
//! Killing is only for containers that nobody looks after any more: the shim and its runtime know
//! cgroups, but they are gone or hang. So this is crude and asks nobody: it thaws, kills until
//! nothing is left, and removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const MOUNT: &str = "/sys/fs/cgroup";

/// Kills all processes in the cgroups of this path, in every hierarchy, and removes the cgroups.
/// `path` is in the spec's words: a path from the top, or systemd's `slice:prefix:name`.
///
/// Gives up after `patience`. Blocks.
pub(crate) fn kill(path: &str, patience: Duration) {
    let Some(path) = below_mount(path) else { return };
    // A spec may name any cgroup, also the daemon's own.
    let groups: Vec<_> = all(&path).into_iter().filter(|group| !holds_us(group)).collect();
    let end = Instant::now() + patience;
    loop {
        let mut left = 0;
        for group in groups.iter().flat_map(|group| tree(group)) {
            // Whichever of them a hierarchy has.
            let _ = fs::write(group.join("freezer.state"), "THAWED");
            let _ = fs::write(group.join("cgroup.freeze"), "0");
            let _ = fs::write(group.join("cgroup.kill"), "1");
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { continue };
                if kill_process(pid, Signal::KILL).is_ok() {
                    left += 1;
                }
            }
        }
        if left == 0 || Instant::now() > end {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for group in groups.iter().flat_map(|group| tree(group)) {
        let _ = fs::remove_dir(group);
    }
}

/// Puts a process into the cgroups of this path, in every hierarchy that has it.
pub(crate) fn join(path: &str, pid: u32) {
    for group in below_mount(path).iter().flat_map(|path| all(path)) {
        if let Err(error) = fs::write(group.join("cgroup.procs"), pid.to_string()) {
            tracing::warn!(%error, pid, group = %group.display(), "a shim did not join its cgroup");
        }
    }
}

/// Returns the path below a hierarchy's mount point, or nothing where it could mean more than one
/// container's cgroup.
fn below_mount(path: &str) -> Option<PathBuf> {
    let mut parts = path.split(':');
    let path = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(path), None, ..) => PathBuf::from(path.trim_matches('/')),
        (Some(slice), Some(prefix), Some(name), None) => {
            let unit = match (prefix, name) {
                (_, name) if name.ends_with(".slice") => return None,
                ("", name) => format!("{name}.scope"),
                (prefix, name) => format!("{prefix}-{name}.scope"),
            };
            let slice = if slice.is_empty() { "system.slice" } else { slice };
            let mut path = PathBuf::new();
            let stem = slice.strip_suffix(".slice")?;
            // a-b.slice lies in a.slice.
            for (at, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
                path.push(format!("{}.slice", &stem[..at]));
            }
            path.join(unit)
        }
        _ => return None,
    };
    let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (plain && path.file_name().is_some()).then_some(path)
}

/// Returns the path in each hierarchy that has it.
fn all(path: &Path) -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    let mut tops = vec![mount.to_owned()];
    let hierarchies = fs::read_dir(mount).into_iter().flatten().flatten();
    tops.extend(hierarchies.filter(|entry| !is_link(entry)).map(|entry| entry.path()));
    tops.into_iter()
        .map(|top| top.join(path))
        .filter(|group| group.join("cgroup.procs").exists())
        .collect()
}

fn is_link(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

fn holds_us(group: &Path) -> bool {
    let own = std::process::id().to_string();
    let holds = |group: &PathBuf| {
        let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        pids.lines().any(|pid| pid == own)
    };
    tree(group).iter().any(holds)
}

/// Lists a cgroup and those below it, children first.
fn tree(group: &Path) -> Vec<PathBuf> {
    let children = fs::read_dir(group).into_iter().flatten().flatten();
    let children = children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<_> = children.flat_map(|entry| tree(&entry.path())).collect();
    found.push(group.to_owned());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let cases = [
            ("/a/b", Some("a/b")),
            ("b", Some("b")),
            ("/", None),
            ("/a/../..", None),
            ("system.slice:cri:x", Some("system.slice/cri-x.scope")),
            ("a-b.slice:cri:x", Some("a.slice/a-b.slice/cri-x.scope")),
            (":docker:x", Some("system.slice/docker-x.scope")),
            ("a:b", None),
            ("a.slice::b.slice", None),
        ];
        for (given, path) in cases {
            assert_eq!(below_mount(given), path.map(PathBuf::from), "{given}");
        }
    }
}
