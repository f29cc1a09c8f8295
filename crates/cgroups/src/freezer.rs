//! Halting all processes of a cgroup, and letting them go on.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::path::Paths;
use crate::{Error, Result, file};

/// Whether a cgroup's processes are halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezerState {
    /// The kernel or the container has no freezer, or the cgroup is gone.
    Undefined,
    /// Running.
    Thawed,
    /// Halted.
    Frozen,
}

/// How long processes may take to come to a halt (one may sit in an uninterruptible wait).
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn freeze(paths: &Paths) -> Result<()> {
    match freezer(paths) {
        Some(Freezer::V1(path)) => freeze_v1(path).inspect_err(|_| {
            // Better running than half halted.
            _ = file::write(path, STATE, THAWED);
        }),
        Some(Freezer::V2(path)) => freeze_v2(path).inspect_err(|_| {
            _ = file::write(path, "cgroup.freeze", "0");
        }),
        None => {
            Err(Error::NoController { controller: "freezer".into(), need: "cannot toggle freezer" })
        }
    }
}

pub(crate) fn thaw(paths: &Paths) -> Result<()> {
    match freezer(paths) {
        Some(Freezer::V1(path)) => file::write(path, STATE, THAWED),
        Some(Freezer::V2(path)) => match file::write(path, "cgroup.freeze", "0") {
            // Without a freezer nothing is frozen.
            Err(error) if error.is_not_found() && file::exists(path) => Ok(()),
            result => result,
        },
        None => Ok(()),
    }
}

pub(crate) fn state(paths: &Paths) -> Result<FreezerState> {
    match freezer(paths) {
        Some(Freezer::V1(path)) => state_v1(path),
        Some(Freezer::V2(path)) => state_v2(path),
        None => Ok(FreezerState::Undefined),
    }
}

enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

const STATE: &str = "freezer.state";
const THAWED: &str = "THAWED";
const FROZEN: &str = "FROZEN";

fn freezer(paths: &Paths) -> Option<Freezer<'_>> {
    paths.get("freezer").map(Freezer::V1).or_else(|| paths.get("").map(Freezer::V2))
}

fn freeze_v1(path: &Path) -> Result<()> {
    // The state stays FREEZING while new processes keep appearing, until it is asked for once more;
    // now and then only letting them run for a moment helps.
    for round in 1..=1000 {
        if round % 50 == 0 {
            _ = file::write(path, STATE, THAWED);
            std::thread::sleep(Duration::from_millis(10));
        }
        file::write(path, STATE, FROZEN)?;
        if round % 25 == 0 {
            std::thread::sleep(Duration::from_micros(10));
        }
        match file::read(path, STATE)?.trim_ascii_end() {
            FROZEN => return Ok(()),
            "FREEZING" => {}
            other => return Err(stuck(path, format!("unexpected state {other}"))),
        }
    }
    Err(stuck(path, "still FREEZING after 1000 attempts".into()))
}

fn state_v1(path: &Path) -> Result<FreezerState> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Some(text) = file::read_if_there(path, STATE)? else {
            return Ok(FreezerState::Undefined);
        };
        match text.trim_ascii_end() {
            THAWED => return Ok(FreezerState::Thawed),
            FROZEN => {
                // Frozen by itself, or through an ancestor?
                let own = file::read_if_there(path, "freezer.self_freezing")?;
                let thawed = own.is_some_and(|text| text.trim_ascii_end() == "0");
                return Ok(if thawed { FreezerState::Thawed } else { FreezerState::Frozen });
            }
            "FREEZING" if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return Err(stuck(path, format!("unexpected state {other}"))),
        }
    }
}

fn freeze_v2(path: &Path) -> Result<()> {
    match file::write(path, "cgroup.freeze", "1") {
        Err(error) if error.is_not_found() && file::exists(path) => {
            return Err(Error::Unsupported("freezer not supported: it needs Linux 5.2".into()));
        }
        result => result?,
    }
    wait_frozen(path)
}

fn state_v2(path: &Path) -> Result<FreezerState> {
    match file::read_if_there(path, "cgroup.freeze")?.as_deref().map(str::trim_ascii_end) {
        None => Ok(FreezerState::Undefined),
        Some("0") => Ok(FreezerState::Thawed),
        Some("1") => wait_frozen(path).map(|()| FreezerState::Frozen),
        Some(other) => Err(file::bad(path, "cgroup.freeze", other)),
    }
}

/// Waits for `frozen 1` in `cgroup.events`, whose changes the kernel reports as priority events.
fn wait_frozen(path: &Path) -> Result<()> {
    let failed = |op| move |source| Error::Io { op, path: path.join("cgroup.events"), source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let events =
        openat(CWD, path.join("cgroup.events"), flags, Mode::empty()).map_err(failed("open"))?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 256];
    loop {
        let length = rustix::io::pread(&events, &mut buffer, 0).map_err(failed("read"))?;
        if buffer[..length].split(|&byte| byte == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(stuck(path, format!("not frozen after {PATIENCE:?}")));
        }
        // The last process to halt is not always announced, so look again before long.
        let pause = left.min(Duration::from_millis(10));
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
    }
}

fn stuck(path: &Path, reason: String) -> Error {
    Error::Freeze { path: path.into(), reason }
}
