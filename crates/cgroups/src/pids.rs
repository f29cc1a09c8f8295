//! Processes in a cgroup, and the cgroups below one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::{Error, Result, file};

/// The processes in the cgroup at `path` itself.
pub(crate) fn of(path: &Path) -> Result<Vec<Pid>> {
    let text = match file::read(path, "cgroup.procs") {
        // A threaded v2 cgroup lists threads only.
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {
            file::read(path, "cgroup.threads")?
        }
        result => result?,
    };
    // Zero stands for a process outside our pid namespace, which cannot be named.
    Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect())
}

/// The processes in the cgroup at `path` and in all below; cgroups that vanish meanwhile had none.
pub(crate) fn below(path: &Path) -> Result<Vec<Pid>> {
    let mut pids = of(path)?;
    for child in children(path)? {
        match below(&child) {
            Ok(more) => pids.extend(more),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pids)
}

/// The directories of the cgroups right below `path`; none if it is gone.
pub(crate) fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { op: "read directory", path: path.into(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    // A directory's link count is two and one for each child: most cgroups have none, and hundreds of
    // files that need not be listed. (A file system that does not count says 1.)
    if rustix::fs::fstat(&fd).map_err(failed)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut children = Vec::new();
    for entry in Dir::new(fd).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
            children.push(path.join(name));
        }
    }
    Ok(children)
}

/// Writes `pid` to the `cgroup.procs` at `path`.
pub(crate) fn add(path: &Path, pid: Pid) -> Result<()> {
    // A process that has only just been forked is refused with EINVAL until it has run once.
    for _ in 0..4 {
        match file::write_number(path, "cgroup.procs", pid.as_raw_nonzero()) {
            Err(error) if error.errno() == Some(Errno::INVAL) => {
                std::thread::sleep(Duration::from_millis(30));
            }
            result => return result,
        }
    }
    file::write_number(path, "cgroup.procs", pid.as_raw_nonzero())
}
