//! Being told when a cgroup runs out of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{CWD, Mode, OFlags, inotify, openat};
use rustix::io::Errno;

use crate::path::Paths;
use crate::{Error, Result, file};

/// A subscription to a cgroup's out-of-memory events.
///
/// Poll its descriptor for reading; when it is readable, call [`OomEvents::read`], which never
/// blocks. Close it (drop it) after [`OomEvent::Removed`].
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    source: Source,
}

/// What made the descriptor readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomEvent {
    /// Nothing of interest: wait on.
    Nothing,
    /// The container ran out of memory.
    Oom,
    /// The cgroup is gone: no more events will come.
    Removed,
}

#[derive(Debug)]
enum Source {
    /// An eventfd that the v1 memory controller counts up.
    V1 { memory: PathBuf },
    /// An inotify watch on v2's `memory.events`.
    V2 { cgroup: PathBuf, kills: u64 },
}

impl OomEvents {
    pub(crate) fn open(paths: &Paths) -> Result<OomEvents> {
        match (paths.get("memory"), paths.get("")) {
            (Some(path), _) => open_v1(path),
            (None, Some(path)) if file::exists(&path.join(EVENTS)) => open_v2(path),
            _ => Err(Error::NoController {
                controller: "memory".into(),
                need: "cannot watch for running out of memory",
            }),
        }
    }

    /// Takes what is pending and tells what it means.
    pub fn read(&mut self) -> Result<OomEvent> {
        let mut buffer = [0; 1024];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                // An eventfd is empty after one read; inotify may have more.
                Ok(length) if length == buffer.len() => {}
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(OomEvent::Nothing),
                Err(source) => {
                    let path = self.source.path().into();
                    return Err(Error::Io { op: "read OOM event of", path, source });
                }
            }
        }
        match &mut self.source {
            // The kernel also counts up when the cgroup is removed.
            Source::V1 { memory } if file::exists(&memory.join(EVENT_CONTROL)) => Ok(OomEvent::Oom),
            Source::V1 { .. } => Ok(OomEvent::Removed),
            Source::V2 { cgroup, kills } => {
                let Some(text) = file::read_if_there(cgroup, EVENTS)? else {
                    return Ok(OomEvent::Removed);
                };
                let now = field(&text, "oom_kill").unwrap_or(0);
                let more = now > *kills;
                *kills = now;
                Ok(if more { OomEvent::Oom } else { OomEvent::Nothing })
            }
        }
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Source::V1 { memory } => memory,
            Source::V2 { cgroup, .. } => cgroup,
        }
    }
}

/// The `oom_kill` counter of the cgroup.
pub(crate) fn kills(paths: &Paths) -> Result<u64> {
    let (path, name) = match (paths.get("memory"), paths.get("")) {
        (Some(path), _) => (path, OOM_CONTROL),
        (None, Some(path)) => (path, EVENTS),
        (None, None) => {
            return Err(Error::NoController {
                controller: "memory".into(),
                need: "cannot count OOM kills",
            });
        }
    };
    let text = file::read(path, name)?;
    // v1 counts since Linux 4.13.
    Ok(field(&text, "oom_kill").unwrap_or(0))
}

const OOM_CONTROL: &str = "memory.oom_control";
const EVENT_CONTROL: &str = "cgroup.event_control";
const EVENTS: &str = "memory.events";

fn open_v1(path: &Path) -> Result<OomEvents> {
    let failed = |op, name: &str| {
        let path = path.join(name);
        move |source| Error::Io { op, path, source }
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let control = openat(CWD, path.join(OOM_CONTROL), flags, Mode::empty())
        .map_err(failed("open", OOM_CONTROL))?;
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(failed("eventfd for", OOM_CONTROL))?;
    let request = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    file::write(path, EVENT_CONTROL, &request)?;
    Ok(OomEvents { fd, source: Source::V1 { memory: path.into() } })
}

fn open_v2(path: &Path) -> Result<OomEvents> {
    let events = path.join(EVENTS);
    let failed = |op| {
        let path = events.clone();
        move |source| Error::Io { op, path, source }
    };
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(failed("inotify for"))?;
    // Removing the cgroup drops the file's last reference, which the kernel reports as deletion.
    let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, &events, what).map_err(failed("watch"))?;
    let kills = field(&file::read(path, EVENTS)?, "oom_kill").unwrap_or(0);
    Ok(OomEvents { fd, source: Source::V2 { cgroup: path.into(), kills } })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
