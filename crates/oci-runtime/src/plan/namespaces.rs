//! Which namespaces are made and which are joined.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use stowd_sys::clone::Namespaces;

use super::wrong;
use crate::error::{Error, Result};
use crate::spec::{Linux, Namespace};

/// A namespace to join.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) fd: OwnedFd,
    pub(crate) kind: Namespaces,
    /// For messages.
    pub(crate) path: String,
}

/// The spec's namespaces, understood.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Those to make.
    pub(crate) new: Namespaces,
    /// Those to join, the user namespace first; without the pid namespace.
    pub(crate) joins: Vec<Join>,
    /// The pid namespace to join.
    pub(crate) pid: Option<Join>,
}

/// The spec's word, the kernel's flag, runc's word and the file in `/proc/PID/ns`.
pub(crate) const KINDS: [(&str, Namespaces, &str, &str); 8] = [
    ("user", Namespaces::USER, "NEWUSER", "user"),
    ("ipc", Namespaces::IPC, "NEWIPC", "ipc"),
    ("uts", Namespaces::UTS, "NEWUTS", "uts"),
    ("network", Namespaces::NETWORK, "NEWNET", "net"),
    ("pid", Namespaces::PID, "NEWPID", "pid"),
    ("cgroup", Namespaces::CGROUP, "NEWCGROUP", "cgroup"),
    ("mount", Namespaces::MOUNT, "NEWNS", "mnt"),
    ("time", Namespaces::TIME, "NEWTIME", "time"),
];

impl NamespacePlan {
    /// Opens what is to be joined.
    pub(crate) fn new(linux: &Linux) -> Result<NamespacePlan> {
        let mut plan = NamespacePlan::default();
        let mut seen = Namespaces::NONE;
        for Namespace { kind, path } in &linux.namespaces {
            let Some(&(_, flag, ..)) = KINDS.iter().find(|(name, ..)| name == kind) else {
                return Err(wrong(&format!("namespace {{{kind:?} {path:?}}} does not exist")));
            };
            if seen.contains(flag) {
                return Err(wrong(&format!(
                    "malformed spec file: duplicated ns {{{kind:?} {path:?}}}"
                )));
            }
            seen = seen | flag;
            if path.is_empty() {
                plan.new = plan.new | flag;
                continue;
            }
            let fd = openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| {
                    // As runc's callers know it, who looks at it before it opens it.
                    let act = "unable to create new parent process: namespace path: lstat";
                    Error::file(act, path.as_ref(), errno)
                })?;
            let join = Join { fd, kind: flag, path: path.clone() };
            match kind.as_str() {
                "pid" => plan.pid = Some(join),
                "user" => plan.joins.insert(0, join),
                _ => plan.joins.push(join),
            }
        }
        let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if mapped && !plan.has(Namespaces::USER) {
            return Err(wrong(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        if plan.new.contains(Namespaces::USER)
            && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty())
        {
            return Err(wrong("user namespaces enabled, but no uid or gid mappings found"));
        }
        if !linux.time_offsets.is_empty() && !plan.new.contains(Namespaces::TIME) {
            return Err(wrong("time namespace offsets require a new time namespace"));
        }
        Ok(plan)
    }

    /// Whether the container has a namespace of this kind that is not the caller's.
    pub(crate) fn has(&self, kind: Namespaces) -> bool {
        self.new.contains(kind)
            || self.joins.iter().any(|join| join.kind == kind)
            || (kind == Namespaces::PID && self.pid.is_some())
    }
}
