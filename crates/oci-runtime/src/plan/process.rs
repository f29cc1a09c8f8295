//! The program and what it runs with.

use std::collections::HashSet;
use std::ffi::CString;

use rustix::process::{Gid, Resource, Rlimit, Uid};
use stowd_sys::exec::ExecStrings;
use stowd_sys::sched::SchedAttr;

use super::{c_string, seccomp, wrong};
use crate::capabilities::CapabilityMasks;
use crate::child::own::FileId;
use crate::error::{Error, Result, StartError};
use crate::spec::{Capabilities, Process};

/// The program and what it runs with.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    /// As asked for, for messages.
    pub(crate) name: String,
    /// Where the program may be, in order.
    pub(crate) candidates: Vec<CString>,
    /// Whether it is looked for in `PATH`.
    pub(crate) searched: bool,
    pub(crate) args: ExecStrings,
    pub(crate) env: ExecStrings,
    /// Whether `HOME` is to be looked up.
    pub(crate) needs_home: bool,
    /// The creator's own program, which must not be run.
    pub(crate) own_program: FileId,
    pub(crate) cwd: CString,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    pub(crate) umask: u32,
    pub(crate) capabilities: CapabilityMasks,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<(Resource, Rlimit, String)>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) seccomp: Option<seccomp::Program>,
    /// What to write into `/proc/self/attr/exec` (or AppArmor's own).
    pub(crate) label: Option<(CString, CString)>,
    pub(crate) scheduler: Option<SchedAttr>,
    pub(crate) io_priority: Option<(u32, u32)>,
    pub(crate) personality: Option<u32>,
}

impl ProcessPlan {
    /// Understands a process. `fallback` are the container's capabilities, for one that names none.
    pub(crate) fn new(
        process: &Process,
        fallback: Option<&Capabilities>,
        warnings: &mut Vec<String>,
    ) -> Result<ProcessPlan> {
        let Some(name) = process.args.first() else {
            return Err(wrong("args must not be empty"));
        };
        if !process.cwd.starts_with('/') {
            return Err(wrong("Cwd must be an absolute path"));
        }
        let env = environment(&process.env)?;
        let (candidates, searched) = candidates(name, &env)?;
        let mut capabilities =
            CapabilityMasks::resolve(process.capabilities.as_ref().or(fallback), warnings);
        let own = rustix::thread::capabilities(None).map_err(Error::system("capget"))?;
        capabilities.limit(own.permitted.bits(), warnings);
        let strings = |what: &str, list: &[String]| {
            list.iter().map(|text| c_string(what, text)).collect::<Result<Vec<_>>>()
        };
        let user = &process.user;
        Ok(ProcessPlan {
            name: name.clone(),
            candidates,
            searched,
            args: ExecStrings::new(strings("process argument", &process.args)?),
            env: ExecStrings::new(strings("environment variable", &env)?),
            needs_home: !env.iter().any(|pair| pair.starts_with("HOME=")),
            own_program: own_program()?,
            cwd: c_string("cwd", &process.cwd)?,
            uid: Uid::from_raw(user.uid),
            gid: Gid::from_raw(user.gid),
            groups: user.additional_gids.iter().map(|&gid| Gid::from_raw(gid)).collect(),
            umask: user.umask.unwrap_or(0o022),
            capabilities,
            no_new_privileges: process.no_new_privileges,
            rlimits: rlimits(process)?,
            oom_score_adj: process.oom_score_adj,
            seccomp: None,
            label: label(process)?,
            scheduler: scheduler(process)?,
            io_priority: io_priority(process)?,
            personality: None,
        })
    }
}

fn own_program() -> Result<FileId> {
    let path = "/proc/self/exe";
    let stat = rustix::fs::stat(path).map_err(|e| Error::file("stat", path.as_ref(), e))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The variables, each name once with the value that it has last; without an empty `HOME`, in whose
/// place comes that of the user.
fn environment(pairs: &[String]) -> Result<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(pairs.len());
    let mut names = HashSet::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let Some((name, value)) = pair.split_once('=') else {
            let text = format!("invalid environment variable: {pair:?}");
            return Err(Error::Start(StartError::in_init(text)));
        };
        if names.insert(name) && !(name == "HOME" && value.is_empty()) {
            kept.push(pair.clone());
        }
    }
    kept.reverse();
    Ok(kept)
}

/// Where a program may be, and whether `PATH` says so.
fn candidates(name: &str, env: &[String]) -> Result<(Vec<CString>, bool)> {
    if name.contains('/') {
        return Ok((vec![c_string("process argument", name)?], false));
    }
    let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or("");
    if name.is_empty() || path.is_empty() {
        return Ok((Vec::new(), true));
    }
    let found: Result<Vec<_>> = path
        .split(':')
        .map(|dir| match dir {
            "" => c_string("PATH", &format!("./{name}")),
            dir => c_string("PATH", &format!("{}/{name}", dir.trim_end_matches('/'))),
        })
        .collect();
    Ok((found?, true))
}

fn rlimits(process: &Process) -> Result<Vec<(Resource, Rlimit, String)>> {
    let mut limits: Vec<(Resource, Rlimit, String)> = Vec::new();
    for limit in &process.rlimits {
        let Some(&(_, resource)) = RESOURCES.iter().find(|(name, _)| *name == limit.kind) else {
            return Err(wrong(&format!("wrong rlimit value: {}", limit.kind)));
        };
        if limits.iter().any(|(_, _, kind)| *kind == limit.kind) {
            return Err(wrong(&format!("duplicate rlimit type {:?}", limit.kind)));
        }
        let bound = |value: u64| (value != u64::MAX).then_some(value);
        let value = Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
        limits.push((resource, value, limit.kind.clone()));
    }
    Ok(limits)
}

fn label(process: &Process) -> Result<Option<(CString, CString)>> {
    if !process.selinux_label.is_empty() {
        let label = c_string("selinuxLabel", &process.selinux_label)?;
        return Ok(Some((c"/proc/thread-self/attr/exec".to_owned(), label)));
    }
    if process.apparmor_profile.is_empty() {
        return Ok(None);
    }
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        return Err(wrong("apparmor: config provided but apparmor not supported"));
    }
    let label = c_string("apparmorProfile", &format!("exec {}", process.apparmor_profile))?;
    let own = "/proc/thread-self/attr/apparmor/exec";
    let file = if std::path::Path::new(own).exists() { own } else { "/proc/thread-self/attr/exec" };
    Ok(Some((c_string("apparmor", file)?, label)))
}

fn scheduler(process: &Process) -> Result<Option<SchedAttr>> {
    const POLICIES: [(&str, u32); 7] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 6] = [
        ("SCHED_FLAG_RESET_ON_FORK", 1),
        ("SCHED_FLAG_RECLAIM", 2),
        ("SCHED_FLAG_DL_OVERRUN", 4),
        ("SCHED_FLAG_KEEP_POLICY", 8),
        ("SCHED_FLAG_KEEP_PARAMS", 16),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
    ];
    let Some(asked) = &process.scheduler else { return Ok(None) };
    let policy = POLICIES.iter().find(|(name, _)| *name == asked.policy);
    let (_, policy) =
        policy.ok_or_else(|| wrong(&format!("invalid scheduler policy: {}", asked.policy)))?;
    let mut attr = SchedAttr::default();
    (attr.policy, attr.nice) = (*policy, asked.nice);
    for name in &asked.flags {
        let flag = FLAGS.iter().find(|(known, _)| known == name);
        attr.flags |= flag.ok_or_else(|| wrong(&format!("invalid scheduler flag: {name}")))?.1;
    }
    attr.priority = u32::try_from(asked.priority)
        .map_err(|_| wrong("scheduler priority must not be negative"))?;
    (attr.runtime, attr.deadline, attr.period) = (asked.runtime, asked.deadline, asked.period);
    Ok(Some(attr))
}

fn io_priority(process: &Process) -> Result<Option<(u32, u32)>> {
    let Some(asked) = &process.io_priority else { return Ok(None) };
    let class = match asked.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(wrong(&format!("invalid ioprio_class {other:?}"))),
    };
    match u32::try_from(asked.priority) {
        Ok(priority @ 0..=7) => Ok(Some((class, priority))),
        _ => Err(wrong("ioPriority.priority must be from 0 to 7")),
    }
}

const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_the_value_that_it_was_given_last() {
        let given = ["HOME=/x", "B=2", "A=", "B=3=4", "HOME="].map(str::to_owned);
        assert_eq!(environment(&given).unwrap(), ["A=", "B=3=4"]);
        assert!(environment(&["alone".to_owned()]).is_err());
    }

    #[test]
    fn programs_are_looked_for_where_path_says() {
        let env = ["PATH=/old".to_owned(), "PATH=/bin::/usr/bin/".to_owned()];
        let (found, searched) = candidates("ls", &env).unwrap();
        assert!(searched);
        assert_eq!(found, [c"/bin/ls".to_owned(), c"./ls".to_owned(), c"/usr/bin/ls".to_owned()]);
        assert_eq!(candidates("./ls", &env).unwrap(), (vec![c"./ls".to_owned()], false));
        assert_eq!(candidates("ls", &[]).unwrap(), (vec![], true));
    }
}
