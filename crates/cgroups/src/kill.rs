//! Signals to all processes of a cgroup.

use rustix::process::{Pid, Signal, kill_process};

use crate::{Cgroup, Error, FreezerState, Result, file};

pub(crate) fn kill(cgroup: &Cgroup) -> Result<()> {
    if cgroup.paths().is_unified() {
        let path = cgroup.main()?;
        match file::write(path, "cgroup.kill", "1") {
            // Linux before 5.14, or no cgroup any more: the long way finds out.
            Err(error) if error.is_not_found() => {}
            // A threaded cgroup's processes are its parent's.
            Err(error) if error.errno() == Some(rustix::io::Errno::OPNOTSUPP) => {}
            // The frozen die as well, but what comes into the cgroup next would be frozen again.
            result => return result.and_then(|()| let_run(cgroup)),
        }
    }
    signal(cgroup, Signal::KILL)
}

fn let_run(cgroup: &Cgroup) -> Result<()> {
    match cgroup.thaw() {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn signal(cgroup: &Cgroup, signal: Signal) -> Result<()> {
    // A paused container stays paused, unless it is killed: the dead need to run once more to go.
    let was_frozen = matches!(cgroup.freezer_state(), Ok(FreezerState::Frozen));
    // Without a freezer, or against processes that will not halt, signalling is still worth it.
    let frozen = was_frozen || cgroup.freeze().is_ok();
    let result = each(cgroup, signal);
    if frozen && (!was_frozen || signal == Signal::KILL) {
        return result.and(let_run(cgroup));
    }
    result
}

fn each(cgroup: &Cgroup, signal: Signal) -> Result<()> {
    let pids = match cgroup.all_pids() {
        Err(error) if error.is_not_found() => return Ok(()),
        result => result?,
    };
    let mut first = None;
    for pid in pids {
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(source) => {
                first.get_or_insert(failed(pid, source));
            }
        }
    }
    first.map_or(Ok(()), Err)
}

fn failed(pid: Pid, source: rustix::io::Errno) -> Error {
    Error::Io { op: "kill", path: format!("/proc/{}", pid.as_raw_nonzero()).into(), source }
}
