//! Hooks that the creator runs.

use std::ffi::CString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use stowd_sys::clone::{CloneOptions, Namespaces, clone_child};
use stowd_sys::exec::{ExecStrings, close_from, execve, place_fd, reset_signals};
use stowd_sys::namespace::enter;

use crate::error::{Error, Result};
use crate::plan::{HookPlan, c_string};
use crate::spec::Hook;
use crate::state::State;

/// Namespaces to run a hook in: those of the process of a pidfd.
pub(crate) type Inside<'a> = Option<(BorrowedFd<'a>, Namespaces)>;

/// Runs hooks one after the other until one fails.
pub(crate) fn run(
    point: &'static str,
    hooks: &[Hook],
    state: &State,
    inside: Inside<'_>,
) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        run_one(hook, state, inside).map_err(|reason| Error::Hook { point, index, reason })
    })
}

/// Runs all hooks; those that fail become warnings.
pub(crate) fn run_all(point: &'static str, hooks: &[Hook], state: &State) -> Vec<String> {
    let run = |(index, hook)| {
        let reason = run_one(hook, state, None).err()?;
        Some(format!("error running {point} hook #{index}: {reason}"))
    };
    hooks.iter().enumerate().filter_map(run).collect()
}

/// A hook as the child runs it.
pub(crate) fn plan(hook: &Hook) -> Result<HookPlan> {
    let strings = |list: &[String]| {
        list.iter().map(|text| c_string("hook", text)).collect::<Result<Vec<CString>>>()
    };
    let args = if hook.args.is_empty() { vec![hook.path.clone()] } else { hook.args.clone() };
    let timeout = hook
        .timeout
        .map_or(-1, |seconds| i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX));
    Ok(HookPlan {
        path: c_string("hook", &hook.path)?,
        args: ExecStrings::new(strings(&args)?),
        env: ExecStrings::new(strings(&hook.env)?),
        timeout,
    })
}

fn run_one(hook: &Hook, state: &State, inside: Inside<'_>) -> Result<(), String> {
    let plan = plan(hook).map_err(|error| error.to_string())?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let memory = |name: &str| {
        memfd_create(name, MemfdFlags::CLOEXEC).map(std::fs::File::from).map_err(|e| text(&e))
    };
    // Above the numbers that they go to.
    let high = |file: std::fs::File| {
        stowd_sys::exec::duplicate_from(&file, 3).map(std::fs::File::from).map_err(|e| text(&e))
    };
    let mut input = high(memory("state")?)?;
    let (mut output, mut errors) = (high(memory("output")?)?, high(memory("errors")?)?);
    let json = serde_json::to_vec(state).map_err(|error| text(&error))?;
    input.write_all(&json).and_then(|()| input.rewind()).map_err(|error| text(&error))?;
    let (pid, pidfd) = clone_child(&CloneOptions::default(), || {
        for (fd, number) in [(input.as_fd(), 0), (output.as_fd(), 1), (errors.as_fd(), 2)] {
            _ = place_fd(fd, number);
        }
        reset_signals();
        if let Some((pidfd, namespaces)) = inside
            && enter(pidfd, namespaces).is_err()
        {
            return 126;
        }
        _ = close_from(3, &[]);
        _ = execve(&plan.path, &plan.args, &plan.env, None);
        127
    })
    .map_err(|error| text(&error))?;
    let in_time = ends_in(pidfd.as_fd(), plan.timeout);
    if !in_time {
        _ = stowd_sys::signal::send(&pidfd, 9);
    }
    let status = wait(pid);
    if !in_time {
        return Err(format!(
            "hook ran past specified timeout of {:.1}s",
            f64::from(plan.timeout) / 1000.0
        ));
    }
    if status == Some(0) {
        return Ok(());
    }
    let (said, complained) = (said(&mut output), said(&mut errors));
    let status = match status {
        Some(127) if complained.is_empty() => {
            format!("exec {}: no such file or directory", hook.path)
        }
        Some(status) => format!("exit status {status}"),
        None => "ended by a signal".to_owned(),
    };
    Err(format!("{status}, stdout: {said}, stderr: {complained}"))
}

/// The beginning of what a hook wrote.
fn said(file: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(4096).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ends_in(pidfd: BorrowedFd<'_>, milliseconds: i32) -> bool {
    let limit = (milliseconds >= 0).then(|| Timespec {
        tv_sec: i64::from(milliseconds / 1000),
        tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
    });
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()) {
            Err(Errno::INTR) => {}
            result => return result.is_ok_and(|ready| ready > 0),
        }
    }
}

fn wait(pid: Pid) -> Option<i32> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(status) => return status.and_then(|(_, status)| status.exit_status()),
            Err(_) => return None,
        }
    }
}
