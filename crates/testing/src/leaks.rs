//! Finds what a test left behind: processes, mounts, cgroups.
//!
//! Everything that a test starts carries the path of its scratch folder in its command line or
//! working directory, or sits in a cgroup named after its namespace. Both are
//! unique, so what is found belongs to the test and to nobody else.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

/// One thing that should be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leak {
    /// A process, with its command line.
    Process(i32, String),
    /// A mount point.
    Mount(PathBuf),
    /// A cgroup directory.
    Cgroup(PathBuf),
}

/// The unique names that a test's cgroups bear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names whose cgroups must be gone.
    pub cgroups: Vec<String>,
    /// Namespaces. Their cgroup may stay when it is empty: runtimes leave the parent group for the
    /// namespace's next container.
    pub namespaces: Vec<String>,
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &str> {
        self.cgroups.iter().chain(&self.namespaces).map(String::as_str)
    }

    fn contain(&self, name: &OsStr) -> bool {
        self.all().any(|known| name == known)
    }
}

/// Looks for processes, mounts and cgroups that belong to a folder or to one of the names.
pub fn find(folder: &Path, names: &Names) -> Vec<Leak> {
    let mut leaks: Vec<Leak> = processes(folder, names)
        .into_iter()
        .map(|(pid, command)| Leak::Process(pid, command))
        .collect();
    leaks.extend(mounts_below(folder).into_iter().map(Leak::Mount));
    let kept = |path: &PathBuf| {
        names.namespaces.iter().any(|name| path.file_name() == Some(OsStr::new(name)))
    };
    leaks.extend(cgroups(names).into_iter().filter(|path| !kept(path)).map(Leak::Cgroup));
    leaks
}

/// Removes what [`find`] finds, processes first, innermost first.
pub fn remove(folder: &Path, names: &Names) {
    for _ in 0..50 {
        let left = processes(folder, names);
        if left.is_empty() {
            break;
        }
        for (pid, _) in left {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may be gone by now, which is what we want.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for target in mounts_below(folder).into_iter().rev() {
        // A mount below may have taken this one along.
        let _ = rustix::mount::unmount(&target, UnmountFlags::DETACH);
    }
    for cgroup in cgroups(names).into_iter().rev() {
        let _ = fs::remove_dir(cgroup);
    }
}

/// Returns mount points below a folder, in the order they were mounted.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|target| target.starts_with(folder))
        .collect()
}

fn processes(folder: &Path, names: &Names) -> Vec<(i32, String)> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == own || is_zombie(pid) {
            continue;
        }
        let command = words(pid, "cmdline");
        let folder = folder.to_string_lossy();
        let belongs = command.contains(&*folder)
            || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&*folder))
            || in_cgroup(pid, names);
        if belongs {
            found.push((pid.cast_signed(), command));
        }
    }
    found
}

fn words(pid: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// A process that has ended and waits for its parent to notice is not running any more.
fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

fn in_cgroup(pid: u32, names: &Names) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.split('/').any(|part| names.contain(part.as_ref())))
}

/// Cgroup directories that bear one of the names, and all below them, outermost first.
fn cgroups(names: &Names) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if names.all().next().is_some() {
        walk(Path::new("/sys/fs/cgroup"), 0, &mut |path| {
            if path.components().any(|part| names.contain(part.as_os_str())) {
                found.push(path.to_path_buf());
            }
        });
    }
    found
}

fn walk(folder: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    // Deeper than any cgroup a test makes; stops at a loop of links, if there were one.
    if depth > 8 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            walk(&entry.path(), depth + 1, visit);
        }
    }
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn mountinfo_escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/plain"), "/plain");
    }

    #[test]
    fn a_process_of_the_folder_is_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child =
            Command::new("sleep").arg("1000").current_dir(folder.path()).spawn().unwrap();
        let expected = [Leak::Process(child.id().cast_signed(), "sleep 1000".to_owned())];
        // A moment passes between a program's start and its having a command line.
        let found =
            crate::process::wait_briefly(|| find(folder.path(), &Names::default()) == expected);
        assert!(found, "{:?}", find(folder.path(), &Names::default()));
        remove(folder.path(), &Names::default());
        assert!(!child.wait().unwrap().success());
        assert_eq!(find(folder.path(), &Names::default()), []);
    }
}
