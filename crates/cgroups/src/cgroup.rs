//! The handle to one container's cgroups.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode as Permissions, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::file;
use crate::freezer::FreezerState;
use crate::join::{Joiner, Unified};
use crate::layout::{Layout, Mode};
use crate::oom::OomEvents;
use crate::path::{CgroupsPath, Paths};
use crate::resources::Resources;
use crate::stats::{self, Stats};
use crate::{Error, Result, freezer, kill, limits, pids};

/// One container's cgroups: a directory in each v1 tree, or one in the v2 tree, or both.
///
/// Holds paths only, no descriptors: cheap to keep, and valid as long as the directories are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    paths: Paths,
}

impl Cgroup {
    /// Makes the directories for `path` and applies `resources`, before any process is in them.
    ///
    /// Parents are made as needed: v1 cpusets inherit their parent's CPUs and nodes down to this
    /// cgroup, v2 parents enable all controllers that exist. Directories that exist already are used,
    /// but fails with [`Error::NotEmpty`] when processes are in them and with [`Error::Frozen`] when
    /// they are frozen. When anything fails, whatever was made is removed again.
    pub fn create(layout: &Layout, path: &CgroupsPath, resources: &Resources) -> Result<Cgroup> {
        let paths = path.resolve(layout)?;
        if layout.mode() != Mode::Unified && paths.get("devices").is_none() {
            return Err(Error::NoController {
                controller: "devices".into(),
                need: "cannot keep a container from the host's devices",
            });
        }
        let cgroup = Cgroup { paths };
        let mut made = Vec::with_capacity(16);
        let result = limits::make(layout, &cgroup, resources, &mut made)
            .and_then(|()| cgroup.set(resources));
        match result {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                for path in made.iter().rev() {
                    // The first error is the one worth telling.
                    _ = rustix::fs::rmdir(path.as_path());
                }
                Err(error)
            }
        }
    }

    /// Takes the directories of a cgroup made earlier, as `state.json` remembers them.
    pub fn load(paths: Paths) -> Cgroup {
        Cgroup { paths }
    }

    /// The directories.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Whether the cgroup is still there (judged, as runc does, by its v1 `devices` or v2 directory).
    pub fn exists(&self) -> bool {
        self.main().is_ok_and(file::exists)
    }

    /// Applies limits; what `resources` leaves out stays as it is.
    ///
    /// Writes in an order in which the kernel accepts both raising and lowering related values. A
    /// limit for a controller that is not there fails with [`Error::NoController`].
    pub fn set(&self, resources: &Resources) -> Result<()> {
        if self.paths.is_unified() {
            limits::set_v2(self.main()?, resources)
        } else {
            limits::set_v1(&self.paths, resources)
        }
    }

    /// Opens what a child about to be cloned needs to join at the least cost.
    pub fn joiner(&self) -> Result<Joiner> {
        let mut joiner = Joiner { tasks: Vec::with_capacity(12), unified: None };
        for path in self.paths.directories() {
            if Some(path) == self.paths.get("") {
                let dir = open(path, OFlags::PATH | OFlags::DIRECTORY)?;
                let procs = open(&path.join("cgroup.procs"), OFlags::WRONLY)?;
                joiner.unified = Some(Unified { dir, procs });
            } else {
                joiner.tasks.push(open(&path.join("tasks"), OFlags::WRONLY)?);
            }
        }
        Ok(joiner)
    }

    /// Like [`Cgroup::joiner`], for a process that joins a running container whose first process is
    /// `init`.
    ///
    /// On pure v2, `init` may have moved itself into a child cgroup and enabled controllers, after
    /// which the kernel refuses processes in the container's own cgroup; the joiner then leads to
    /// where `init` is.
    pub fn joiner_beside(&self, init: Pid) -> Result<Joiner> {
        let mut joiner = self.joiner()?;
        if self.paths.is_unified()
            && let Some(path) = self.descendant_of(init)?
        {
            let dir = open(&path, OFlags::PATH | OFlags::DIRECTORY)?;
            let procs = open(&path.join("cgroup.procs"), OFlags::WRONLY)?;
            joiner.unified = Some(Unified { dir, procs });
        }
        Ok(joiner)
    }

    /// Moves the process `pid` with all its threads into the cgroup. Waits up to 20 ms.
    pub fn add(&self, pid: Pid) -> Result<()> {
        self.paths.directories().try_for_each(|path| pids::add(path, pid))
    }

    /// Moves the process `pid` into the cgroup `child` below this one, in every tree. The directory
    /// must exist.
    pub fn add_below(&self, child: &Path, pid: Pid) -> Result<()> {
        let child = child.strip_prefix("/").unwrap_or(child);
        if child.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Error::InvalidPath(format!("bad sub cgroup path: {}", child.display())));
        }
        self.paths.directories().try_for_each(|path| pids::add(&path.join(child), pid))
    }

    /// The processes in the cgroup itself.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        pids::of(self.main()?)
    }

    /// The processes in the cgroup and all below it.
    pub fn all_pids(&self) -> Result<Vec<Pid>> {
        pids::below(self.main()?)
    }

    /// Halts all processes, and waits until they stand. On failure they run again.
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(&self.paths)
    }

    /// Lets the processes go on.
    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(&self.paths)
    }

    /// Whether the cgroup itself (not an ancestor) is frozen.
    pub fn freezer_state(&self) -> Result<FreezerState> {
        freezer::state(&self.paths)
    }

    /// Sends `SIGKILL` to every process in the cgroup and below; none can slip away by forking.
    ///
    /// Returns at once, whether or not they have exited. A cgroup that is gone has nothing to kill.
    pub fn kill(&self) -> Result<()> {
        kill::kill(self)
    }

    /// Sends `signal` to every process in the cgroup and below, frozen meanwhile where possible.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        kill::signal(self, signal)
    }

    /// Removes the directories with all cgroups below them. Waits up to a second for processes that
    /// are about to be gone; a directory that is gone already is no error.
    pub fn delete(&self) -> Result<()> {
        let mut first = None;
        for path in self.paths.directories() {
            if let Err(error) = remove(path) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Reads all counters.
    pub fn stats(&self) -> Result<Stats> {
        if self.paths.is_unified() {
            stats::read_v2(self.main()?).map(|metrics| Stats::V2(Box::new(metrics)))
        } else {
            stats::read_v1(&self.paths).map(|metrics| Stats::V1(Box::new(metrics)))
        }
    }

    /// A descriptor that becomes readable when the cgroup runs out of memory.
    pub fn oom_events(&self) -> Result<OomEvents> {
        OomEvents::open(&self.paths)
    }

    /// How many processes the OOM killer has taken so far.
    pub fn oom_kills(&self) -> Result<u64> {
        crate::oom::kills(&self.paths)
    }

    /// Hands the v2 cgroup to `uid`: its directory and the files that the kernel lists as safe to
    /// delegate. Does nothing on v1, where delegation is not safe.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        if !self.paths.is_unified() {
            return Ok(());
        }
        let path = self.main()?;
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        chown(path, owner)?;
        let listed = file::read_path("/sys/kernel/cgroup/delegate".into());
        let listed = match &listed {
            Ok(text) => text.as_str(),
            // Kernels before 4.15 have no list; these were the files then.
            Err(error) if error.is_not_found() => {
                "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n"
            }
            Err(_) => return listed.map(|_| ()),
        };
        for name in listed.lines() {
            match chown(&path.join(name), owner) {
                // Not every controller is enabled here.
                Err(error) if error.is_not_found() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The directory whose processes stand for the container's: v1's `devices`, else v2's.
    pub(crate) fn main(&self) -> Result<&Path> {
        let path = self.paths.get("devices").or_else(|| self.paths.get(""));
        path.ok_or_else(|| Error::NoController {
            controller: "devices".into(),
            need: "cannot tell the container's processes",
        })
    }

    /// Where below this v2 cgroup `pid` is; `None` when it is in the cgroup itself or elsewhere.
    fn descendant_of(&self, pid: Pid) -> Result<Option<PathBuf>> {
        let own = self.main()?;
        let proc = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
        let text = match file::read_path(proc.into()) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(line) = crate::path::own_cgroup(&text, "") else { return Ok(None) };
        let layout = Layout::get()?;
        let Some(tree) = layout.hierarchy("") else { return Ok(None) };
        let inside = line.strip_prefix("/").unwrap_or(line);
        let path = tree.mount_point.join(inside);
        Ok((path != own && path.starts_with(own)).then_some(path))
    }
}

fn open(path: &Path, flags: OFlags) -> Result<std::os::fd::OwnedFd> {
    openat(CWD, path, flags | OFlags::CLOEXEC, Permissions::empty()).map_err(|source| Error::Io {
        op: "open",
        path: path.into(),
        source,
    })
}

fn chown(path: &Path, owner: Option<rustix::fs::Uid>) -> Result<()> {
    rustix::fs::chownat(CWD, path, owner, None, AtFlags::empty()).map_err(|source| Error::Io {
        op: "chown",
        path: path.into(),
        source,
    })
}

/// Removes one cgroup, those below it first.
fn remove(path: &Path) -> Result<()> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    for child in pids::children(path)? {
        remove(&child)?;
    }
    // Processes that were killed leave their cgroup a moment after they could be waited for.
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::BUSY) if pause < Duration::from_secs(1) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(source) => return Err(Error::Io { op: "rmdir", path: path.into(), source }),
        }
    }
}
