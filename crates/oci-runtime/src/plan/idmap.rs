//! User namespaces that stand for id mappings of mounts.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use stowd_sys::clone::{CloneOptions, Namespaces, clone_child};

use super::wrong;
use crate::error::{Error, Result};
use crate::spec::IdMapping;

/// Of user ids and of group ids.
type Mappings = (Vec<IdMapping>, Vec<IdMapping>);

/// User namespaces by their mappings, each made once per container.
#[derive(Debug, Default)]
pub(crate) struct IdMaps {
    /// The container's own mappings, for mounts that name none.
    default: Mappings,
    /// The user namespace that the container joins, if it does.
    joined: Option<PathBuf>,
    made: Vec<(Mappings, OwnedFd)>,
}

impl IdMaps {
    /// For a container with these mappings of its own.
    pub(crate) fn new(uids: &[IdMapping], gids: &[IdMapping], joined: Option<PathBuf>) -> IdMaps {
        IdMaps { default: (uids.to_vec(), gids.to_vec()), joined, made: Vec::new() }
    }

    /// A user namespace with these mappings, or with the container's if they are empty.
    pub(crate) fn get(&mut self, uids: &[IdMapping], gids: &[IdMapping]) -> Result<BorrowedFd<'_>> {
        let own = uids.is_empty() && gids.is_empty();
        let wanted = if own { self.default.clone() } else { (uids.to_vec(), gids.to_vec()) };
        let known = self.made.iter().position(|(mappings, _)| *mappings == wanted);
        let at = match known {
            Some(at) => at,
            None => {
                let namespace = match &self.joined {
                    Some(path) if own => {
                        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                        openat(CWD, path, flags, Mode::empty())
                            .map_err(|errno| Error::file("open", path, errno))?
                    }
                    _ if wanted.0.is_empty() || wanted.1.is_empty() => {
                        return Err(wrong(
                            "id-mapped mounts must have both uid and gid mappings specified",
                        ));
                    }
                    _ => make(&wanted.0, &wanted.1)?,
                };
                self.made.push((wanted, namespace));
                self.made.len() - 1
            }
        };
        Ok(self.made[at].1.as_fd())
    }
}

/// Writes both mappings of the process `pid`, which is in a user namespace of its own.
pub(crate) fn write_mappings(pid: Pid, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let path = PathBuf::from(format!("/proc/{}/{file}", pid.as_raw_nonzero()));
        let text: String = mappings
            .iter()
            .map(|IdMapping { container_id, host_id, size }| {
                format!("{container_id} {host_id} {size}\n")
            })
            .collect();
        // All lines must come in one write.
        File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::file("write", &path, source))?;
    }
    Ok(())
}

/// Makes a user namespace by way of a child that lives just long enough.
fn make(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let (hold, release) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("pipe"))?;
    let options = CloneOptions { namespaces: Namespaces::USER, ..CloneOptions::default() };
    let (pid, pidfd) = clone_child(&options, || {
        // Ends when the parent closes the other end, or dies; its own copy of that end must go.
        _ = stowd_sys::exec::close_from(0, &[hold.as_fd()]);
        _ = rustix::io::read(&hold, &mut [0u8; 1]);
        0
    })
    .map_err(Error::system("clone a user namespace"))?;
    let path = PathBuf::from(format!("/proc/{}/ns/user", pid.as_raw_nonzero()));
    let result = write_mappings(pid, uids, gids).and_then(|()| {
        openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::file("open", &path, errno))
    });
    drop(release);
    // The child may be stopped before it got to read; then it is of no use either.
    _ = stowd_sys::signal::send(&pidfd, 9);
    _ = waitpid(Some(pid), WaitOptions::empty());
    result
}
