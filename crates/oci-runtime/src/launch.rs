//! Cloning a child and seeing it through its plan.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, prlimit, waitpid};
use stowd_sys::clone::{CloneOptions, Namespaces, Parent, clone_child};
use stowd_sys::exec::place_fd;
use stowd_sys::namespace::{self, ChildPidNamespace};

use crate::child;
use crate::error::{Error, Result, errno_text};
use crate::failure;
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use crate::plan::streams::above;
use crate::sync::{self, Caller, Message};

/// Where a child is born.
pub(crate) struct Birth<'a> {
    /// Namespaces that are new.
    pub(crate) new: Namespaces,
    /// The pid namespace to be born in.
    pub(crate) pid: Option<BorrowedFd<'a>>,
    /// The user namespace that the new ones are to belong to.
    pub(crate) user: Option<BorrowedFd<'a>>,
}

/// A child that waits for its start, or runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
    pub(crate) console: Option<OwnedFd>,
}

/// What the creator does while the child waits for it.
pub(crate) trait Attend {
    /// Writes mappings and offsets.
    fn maps(&mut self, pid: Pid) -> Result<()>;
    /// Sets limits, runs hooks.
    fn ready(&mut self, pid: Pid, pidfd: BorrowedFd<'_>) -> Result<()>;
}

/// Clones a child and accompanies it until it waits for its start or, if it is not a container's
/// first process, until it has become its program. Nothing is left of it after an error.
pub(crate) fn launch(plan: &Plan, birth: &Birth<'_>, attend: &mut impl Attend) -> Result<Launched> {
    let (mine, theirs) = sync::pair().map_err(Error::system("socketpair"))?;
    let theirs = above(theirs, plan.streams.lowest())?;
    let mine = above(mine, plan.streams.lowest())?;
    let (pid, pidfd) = clone(plan, birth, &mine, &theirs).map_err(Error::system("clone"))?;
    drop(theirs);
    let mut launched = Launched { pid, pidfd, socket: mine, console: None };
    match accompany(plan, &mut launched, attend) {
        Ok(()) => Ok(launched),
        Err(error) => {
            bury(&launched);
            Err(error)
        }
    }
}

/// Waits until a started child has become its program.
pub(crate) fn executed(socket: &OwnedFd) -> Result<Option<child::Failure>> {
    match sync::receive(socket).map_err(Error::system("recvmsg"))? {
        Message::Failed(failure) => Ok(Some(failure)),
        _ => Ok(None),
    }
}

/// Waits for a child that is about to end.
fn reap(pid: Pid) {
    while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
}

fn bury(launched: &Launched) {
    _ = stowd_sys::signal::send(&launched.pidfd, 9);
    reap(launched.pid);
}

fn clone(
    plan: &Plan,
    birth: &Birth<'_>,
    mine: &OwnedFd,
    theirs: &OwnedFd,
) -> rustix::io::Result<(Pid, OwnedFd)> {
    let own_pid = match birth.pid {
        Some(_) => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            Some(openat(CWD, c"/proc/thread-self/ns/pid", flags, Mode::empty())?)
        }
        None => None,
    };
    let _inside = match (birth.pid, &own_pid) {
        (Some(target), Some(own)) => Some(ChildPidNamespace::enter(target, own.as_fd())?),
        _ => None,
    };
    let begin = || {
        // Over the creator's end, which the child must not hold open.
        if place_fd(theirs, mine.as_raw_fd()).is_err() {
            return 1;
        }
        child::run(plan, Caller(theirs.as_fd()))
    };
    let options =
        |namespaces, parent| CloneOptions { namespaces, cgroup: plan.joiner.unified(), parent };
    let Some(user) = birth.user else {
        return clone_child(&options(birth.new, Parent::Caller), begin);
    };
    // New namespaces belong to the user namespace that they are made in, so a process in between
    // goes there first; its child is ours all the same.
    let (ours, its) = sync::pair()?;
    let (between, _pidfd) = clone_child(&options(Namespaces::NONE, Parent::Caller), || {
        let born = namespace::enter(user, Namespaces::USER)
            .and_then(|()| clone_child(&options(birth.new, Parent::Inherited), begin));
        let teller = Caller(its.as_fd());
        match born {
            // Not its id, which may be one of another pid namespace.
            Ok((_, pidfd)) => _ = teller.console(pidfd.as_fd()),
            Err(errno) => {
                let step = child::Step::NewNamespace;
                _ = teller.failed(child::Failure { step, index: 0, errno });
            }
        }
        0
    })?;
    drop(its);
    let told = match sync::receive(&ours) {
        Ok(Message::Console(pidfd)) => Ok(pidfd),
        Ok(Message::Failed(failure)) => Err(failure.errno),
        Ok(_) => Err(Errno::CHILD),
        Err(errno) => Err(errno),
    };
    reap(between);
    let pidfd = told?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.unwrap_or_default();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    Ok((pid.and_then(Pid::from_raw).ok_or(Errno::SRCH)?, pidfd))
}

fn accompany(plan: &Plan, launched: &mut Launched, attend: &mut impl Attend) -> Result<()> {
    let go = |socket: &OwnedFd| sync::go(socket).map_err(Error::system("send"));
    loop {
        match sync::receive(&launched.socket).map_err(Error::system("recvmsg"))? {
            Message::NeedsMaps => {
                attend.maps(launched.pid)?;
                go(&launched.socket)?;
            }
            Message::Ready => {
                attend.ready(launched.pid, launched.pidfd.as_fd())?;
                go(&launched.socket)?;
            }
            Message::Console(master) => launched.console = Some(master),
            Message::Waiting => return Ok(()),
            Message::Failed(failure) => return Err(failure::error(plan, failure)),
            Message::Closed if plan.init.is_none() => return Ok(()),
            Message::Closed => {
                return Err(Error::Start(crate::StartError::in_init(
                    "the process ended before it was set up".into(),
                )));
            }
        }
    }
}

/// Sets what a process cannot set itself without rights that it may not have.
pub(crate) fn set_limits(
    process: &ProcessPlan,
    pid: Pid,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for (resource, limit, name) in &process.rlimits {
        set_limit(pid, *resource, limit, name, warnings)?;
    }
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    match std::fs::write(&path, score.to_string()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            warnings.push(format!("oom_score_adj {score} could not be set: {error}"));
            Ok(())
        }
        Err(error) => Err(Error::file("write", Path::new(&path), error)),
    }
}

fn set_limit(
    pid: Pid,
    resource: Resource,
    limit: &Rlimit,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let wanted = || Rlimit { current: limit.current, maximum: limit.maximum };
    match prlimit(Some(pid), resource, wanted()) {
        Ok(_) => Ok(()),
        Err(Errno::PERM) => {
            // The most that can be given: what there is.
            let have = getrlimit(resource).maximum;
            let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let lower =
                Rlimit { current: least(limit.current, have), maximum: least(limit.maximum, have) };
            let result = prlimit(Some(pid), resource, lower);
            warnings.push(format!(
                "{name} could not be raised above {}: {}",
                have.map_or_else(|| "unlimited".to_owned(), |have| have.to_string()),
                errno_text(result.err().unwrap_or(Errno::PERM))
            ));
            Ok(())
        }
        Err(errno) => Err(Error::Start(crate::StartError::in_init(format!(
            "error setting rlimits for ready process: error setting rlimit type {}: {}",
            resource as u32,
            errno_text(errno)
        )))),
    }
}
