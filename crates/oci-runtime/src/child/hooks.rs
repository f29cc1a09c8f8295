//! Hooks that run in the container, with its rights, before its program.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::process::{WaitOptions, waitpid};
use stowd_sys::clone::{CloneOptions, clone_child};
use stowd_sys::exec::{close_from, execve, place_fd};

use super::{During, Outcome, Step, own};
use crate::plan::{HookPlan, InitPlan};

/// Runs them one after the other.
pub(super) fn run(init: &InitPlan) -> Outcome {
    for (index, hook) in init.start_hooks.iter().enumerate() {
        run_one(init, hook).during_nth(Step::StartHook, index)?;
    }
    Ok(())
}

fn run_one(init: &InitPlan, hook: &HookPlan) -> Result<(), Errno> {
    if let Some(text) = &init.state_text {
        seek(text, SeekFrom::Start(0))?;
    }
    let (pid, pidfd) = clone_child(&CloneOptions::default(), || {
        if let Some(text) = &init.state_text {
            _ = place_fd(text, 0);
        }
        _ = close_from(3, &[]);
        if own::refuse(&hook.path, init.own_program).is_err() {
            return 126;
        }
        _ = execve(&hook.path, &hook.args, &hook.env, None);
        127
    })?;
    let limit = (hook.timeout >= 0)
        .then(|| Timespec { tv_sec: i64::from(hook.timeout) / 1000, tv_nsec: 0 });
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let in_time = loop {
        match poll(&mut fds, limit.as_ref()) {
            Err(Errno::INTR) => {}
            result => break result? > 0,
        }
    };
    if !in_time {
        _ = stowd_sys::signal::send(&pidfd, 9);
    }
    let status = waitpid(Some(pid), WaitOptions::empty())?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        _ if !in_time => Err(Errno::TIMEDOUT),
        _ => Err(Errno::CANCELED),
    }
}
