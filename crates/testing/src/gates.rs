//! Gates: a test says what it needs of the machine, and is skipped with the reason where it lacks it.
//!
//! With `CI=true` a lack that installing something would cure fails the test, so that nothing is
//! skipped there by accident; a lack of the machine itself (its kernel, its cgroup layout) still
//! skips.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::{clients, daemon};

/// Something a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To run as root.
    Root,
    /// cgroup v1 controllers, alone or beside v2.
    CgroupV1,
    /// cgroup v2 alone at `/sys/fs/cgroup`.
    CgroupV2,
    /// The overlay file system.
    Overlayfs,
    /// The unmodified clients and peers that `scripts/clients` unpacks.
    Clients,
    /// stowd's own programs, built.
    Stowd,
    /// A virtual machine: qemu and a kernel for it.
    Vm,
    /// criu, which checkpoints processes.
    Criu,
}

/// Why a need is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing, and what to do about it.
    pub reason: String,
    /// Whether installing or building something would cure it.
    pub curable: bool,
}

impl Need {
    /// Returns why the need is not met, or nothing when it is.
    pub fn lack(self) -> Option<Lack> {
        match self {
            Self::Root => unless(rustix::process::geteuid().is_root(), "root; run as root"),
            Self::CgroupV1 => impossible_unless(
                Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists(),
                "cgroup v1 controllers below /sys/fs/cgroup",
            ),
            Self::CgroupV2 => impossible_unless(
                Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
                "cgroup v2 at /sys/fs/cgroup",
            ),
            Self::Overlayfs => impossible_unless(
                fs::read_to_string("/proc/filesystems")
                    .is_ok_and(|list| list.lines().any(|line| line.ends_with("\toverlay"))),
                "overlayfs in this kernel",
            ),
            Self::Clients => match clients::missing() {
                None => None,
                Some(path) => curable(format!("{}; run scripts/clients", path.display())),
            },
            Self::Stowd => match daemon::missing_program() {
                None => None,
                Some(path) => curable(format!("{}; run cargo build --bins", path.display())),
            },
            Self::Vm => unless(in_path("qemu-system-x86_64"), "qemu-system-x86_64; install it"),
            Self::Criu => unless(in_path("criu"), "criu; install it"),
        }
    }
}

/// Says whether all needs are met; prints what is missing otherwise. [`need!`](crate::need) calls it.
///
/// # Panics
/// Under `CI=true`, when a need is not met that could be.
pub fn met(test: &str, needs: &[Need]) -> bool {
    let Some(lack) = needs.iter().find_map(|need| need.lack()) else { return true };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!(in_ci && lack.curable), "{test} cannot run: needs {}", lack.reason);
    // Not `eprintln!`: the test harness would swallow it, and nobody would know of the skip.
    let _ = writeln!(std::io::stderr(), "skipped {test}: needs {}", lack.reason);
    false
}

/// Returns from the test, saying why, unless the machine has all that is named.
///
/// The names are `root`, `cgroup_v1`, `cgroup_v2`, `overlayfs`, `clients`, `stowd`, `vm`, `criu`.
///
/// ```no_run
/// # fn test() {
/// stowd_testing::need!(root, overlayfs);
/// # }
/// ```
#[macro_export]
macro_rules! need {
    ($($need:ident),+ $(,)?) => {
        let test = std::thread::current().name().unwrap_or(module_path!()).to_owned();
        if !$crate::gates::met(&test, &[$($crate::need!(@ $need)),+]) {
            return;
        }
    };
    (@ root) => { $crate::Need::Root };
    (@ cgroup_v1) => { $crate::Need::CgroupV1 };
    (@ cgroup_v2) => { $crate::Need::CgroupV2 };
    (@ overlayfs) => { $crate::Need::Overlayfs };
    (@ clients) => { $crate::Need::Clients };
    (@ stowd) => { $crate::Need::Stowd };
    (@ vm) => { $crate::Need::Vm };
    (@ criu) => { $crate::Need::Criu };
}

fn unless(met: bool, reason: &str) -> Option<Lack> {
    if met { None } else { curable(reason.to_owned()) }
}

fn curable(reason: String) -> Option<Lack> {
    Some(Lack { reason, curable: true })
}

fn impossible_unless(met: bool, reason: &str) -> Option<Lack> {
    (!met).then(|| Lack { reason: reason.to_owned(), curable: false })
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_itself_lacks_is_not_curable() {
        if let Some(lack) = Need::CgroupV2.lack() {
            assert!(!lack.curable);
        }
        // The two layouts exclude each other.
        assert!(Need::CgroupV1.lack().is_some() || Need::CgroupV2.lack().is_some());
    }

    #[test]
    fn no_needs_are_always_met() {
        assert!(met("test", &[]));
    }
}
