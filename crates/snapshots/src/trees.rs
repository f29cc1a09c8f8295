//! The directory that a driver keeps its numbered trees in.
//!
//! ```text
//! <root>/snapshots/7/        a tree
//! <root>/snapshots/new-8/    a tree that is being made: renamed when it is whole
//! <root>/snapshots/rm-6-0/   a tree that is being removed: renamed before anything in it goes
//! ```
//!
//! So what has a number is never half there. What a crash leaves under the other names goes at the
//! next start.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use stowd_core::snapshots::TreeId;
use stowd_core::{Error, Result};
use stowd_sys::{descent, tree};

use crate::flush::Flush;

/// The numbered trees of one driver.
#[derive(Debug)]
pub(crate) struct Trees {
    root: PathBuf,
    dir: OwnedFd,
    flush: Flush,
    removals: AtomicU64,
}

pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Trees {
    /// Opens the trees below `root`, makes what is missing, and removes what a crash left.
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        let failed = |act: &str, error: io::Error| {
            Error::io(format_args!("{act} {}", root.display()), &error)
        };
        make_private(&root).map_err(|error| failed("make snapshot directory", error))?;
        let path = root.join("snapshots");
        make_private(&path).map_err(|error| failed("make snapshot directory", error))?;
        let dir = rustix::fs::openat(CWD, &path, DIRECTORY, Mode::empty())
            .map_err(|error| failed("open snapshot directory", error.into()))?;
        let trees = Self { root, dir, flush: Flush::default(), removals: AtomicU64::new(0) };
        trees.clear()?;
        Ok(trees)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Returns a tree's path, for mounts.
    pub(crate) fn path(&self, id: TreeId) -> PathBuf {
        self.root.join("snapshots").join(id.0.to_string())
    }

    /// Makes a tree: `fill` gets its empty directory and makes what belongs in it.
    pub(crate) fn make(
        &self,
        id: TreeId,
        mode: u32,
        fill: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<()> {
        let (new, name) = (c_name(format!("new-{}", id.0)), number(id));
        let made = (|| {
            tree::remove(self.dir(), &new)?;
            rustix::fs::mkdirat(&self.dir, &new, Mode::from_raw_mode(0o700))?;
            let dir = rustix::fs::openat(&self.dir, &new, DIRECTORY, Mode::empty())?;
            // The mask of the process does not count.
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
            fill(dir.as_fd())?;
            match self.take_name(&new, &name) {
                // A crash came between making the tree and recording it.
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    tree::remove(self.dir(), &name)?;
                    self.take_name(&new, &name)
                }
                result => result,
            }?;
            Ok(())
        })();
        made.map_err(|error: io::Error| {
            // The first error is the one that matters; a rest goes at the next start.
            let _ = tree::remove(self.dir(), &new);
            Error::io(format_args!("make snapshot tree {}", self.path(id).display()), &error)
        })
    }

    /// Opens a directory of a tree.
    pub(crate) fn open_in(&self, id: TreeId, below: &str) -> Result<OwnedFd> {
        let path = if below.is_empty() { id.0.to_string() } else { format!("{}/{below}", id.0) };
        rustix::fs::openat(&self.dir, &path, DIRECTORY, Mode::empty()).map_err(|error| {
            let path = self.path(id).join(below);
            match error {
                // The books name a tree that is not on disk.
                Errno::NOENT => Error::data_loss(format_args!(
                    "snapshot tree {} is missing on disk",
                    path.display()
                )),
                error => {
                    Error::io(format_args!("open snapshot tree {}", path.display()), &error.into())
                }
            }
        })
    }

    /// Takes a tree out of sight, and returns the name that its rest has.
    pub(crate) fn retire(&self, id: TreeId) -> Result<Option<CString>> {
        let failed = |error: Errno| {
            Error::io(
                format_args!("remove snapshot tree {}", self.path(id).display()),
                &error.into(),
            )
        };
        loop {
            let serial = self.removals.fetch_add(1, Ordering::Relaxed);
            let rest = c_name(format!("rm-{}-{serial}", id.0));
            let done = rustix::fs::renameat_with(
                &self.dir,
                number(id),
                &self.dir,
                &rest,
                RenameFlags::NOREPLACE,
            );
            match done {
                Ok(()) => return Ok(Some(rest)),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Removes what [`retire`](Self::retire) returned.
    pub(crate) fn dispose(&self, rest: &CStr) -> Result<()> {
        tree::remove(self.dir(), rest).map_err(|error| {
            let path = self.root.join("snapshots").join(rest.to_string_lossy().as_ref());
            Error::io(format_args!("remove snapshot tree {}", path.display()), &error)
        })
    }

    /// Lists the trees.
    pub(crate) fn list(&self) -> Result<Vec<TreeId>> {
        let names = self.names()?;
        let mut ids: Vec<TreeId> = names
            .iter()
            .filter_map(|entry| {
                let text = entry.name.to_str().ok()?;
                // `07` or `+7` are not how a tree is named.
                let id = text.parse().ok().map(TreeId)?;
                (id.0.to_string() == text).then_some(id)
            })
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Waits until all that was written to the trees so far is on disk.
    pub(crate) fn flush(&self) -> Result<()> {
        self.flush
            .wait(|| Ok(rustix::fs::syncfs(&self.dir)?))
            .map_err(|error| Error::io(format_args!("flush {}", self.root.display()), &error))
    }

    fn take_name(&self, new: &CStr, name: &CStr) -> rustix::io::Result<()> {
        rustix::fs::renameat_with(&self.dir, new, &self.dir, name, RenameFlags::NOREPLACE)
    }

    fn names(&self) -> Result<Vec<descent::Name>> {
        // A descriptor of its own, since reading moves its offset.
        rustix::fs::openat(&self.dir, c".", DIRECTORY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|dir| descent::names(dir.as_fd()))
            .map_err(|error| {
                Error::io(format_args!("list snapshot trees in {}", self.root.display()), &error)
            })
    }

    fn clear(&self) -> Result<()> {
        for entry in self.names()? {
            let name = entry.name.to_bytes();
            if name.starts_with(b"new-") || name.starts_with(b"rm-") {
                self.dispose(&entry.name)?;
            }
        }
        Ok(())
    }
}

/// Says whether the file system tells the kind of a file together with its name, which overlayfs
/// needs.
pub(crate) fn tells_kinds(root: &Path) -> io::Result<bool> {
    let dir = rustix::fs::openat(CWD, root, DIRECTORY, Mode::empty())?;
    // `snapshots` is in it, at least.
    Ok(descent::names(dir.as_fd())?.iter().all(|entry| entry.kind != FileType::Unknown))
}

fn number(id: TreeId) -> CString {
    c_name(id.0.to_string())
}

fn c_name(name: String) -> CString {
    // Digits, letters and dashes only: no zero byte can be in it.
    CString::new(name).unwrap_or_default()
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
