//! Taking away what layers below brought.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use stowd_core::{Error, Result};
use stowd_sys::descent::{self, Descent, Name as Listed};
use stowd_sys::tree;

use super::directories::{self, Directory};
use super::name::{Name, Whiteout};
use super::target::{self, Below, Deletes};
use super::{Extractor, failed, failed_io};

impl Extractor {
    pub(super) fn white_out(
        &mut self,
        directory: &Directory,
        name: &Name,
        whiteout: Whiteout,
    ) -> Result<()> {
        let fail = |error: io::Error| failed_io("apply whiteout", name, &error);
        match whiteout {
            Whiteout::Name(hidden) => {
                self.vacate(directory, &hidden).map_err(fail)?;
                if matches!(self.target.deletes, Deletes::Marks(_)) {
                    mark(directory, &hidden)
                        .map_err(|error| failed("apply whiteout", name, error))?;
                }
                Ok(())
            }
            Whiteout::Below => {
                // What this layer brought stays, wherever in the layer the mark comes.
                if self.brought.is_some() {
                    self.clear(directory).map_err(fail)?;
                    self.directories.forget();
                }
                match &self.target.deletes {
                    Deletes::Real => Ok(()),
                    Deletes::Marks(below) if name.parent.is_empty() => {
                        hide_all(directory, below, name)
                    }
                    Deletes::Marks(_) => directories::hide_below(directory.as_fd()).map_err(fail),
                }
            }
        }
    }

    /// Removes all below a directory that this layer did not bring, and directories that only held
    /// such.
    fn clear(&self, directory: &Directory) -> io::Result<()> {
        let top = again(directory)?;
        let mut descent = Descent::new(top);
        let mut pending = vec![descent::names(descent.here())?];
        while let Some(level) = pending.last_mut() {
            let Some(entry) = level.last() else {
                pending.pop();
                if !descent.leave()? {
                    break;
                }
                if let Some(done) = pending.last_mut().and_then(Vec::pop) {
                    self.remove_if_empty(&descent, &done)?;
                }
                continue;
            };
            let stat =
                match rustix::fs::statat(descent.here(), &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) => {
                        level.pop();
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                descent.enter(&entry.name)?;
                pending.push(descent::names(descent.here())?);
                continue;
            }
            let inode = rustix::fs::fstat(descent.here())?.st_ino;
            if !self.is_brought(inode, &entry.name) {
                tree::remove(descent.here(), &entry.name)?;
            }
            level.pop();
        }
        Ok(())
    }

    fn remove_if_empty(&self, descent: &Descent, done: &Listed) -> io::Result<()> {
        let inode = rustix::fs::fstat(descent.here())?.st_ino;
        if self.is_brought(inode, &done.name) {
            return Ok(());
        }
        match rustix::fs::unlinkat(descent.here(), &done.name, AtFlags::REMOVEDIR) {
            // Something in it was brought by this layer.
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Puts overlayfs' mark for a name that is gone.
fn mark(directory: &Directory, name: &CStr) -> Result<(), Errno> {
    rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Hides all that the layers below have at the top, name by name: the top of an overlay cannot be
/// opaque.
fn hide_all(directory: &Directory, below: &Below, name: &Name) -> Result<()> {
    let Below::Known(_, paths) = below else {
        return Err(Error::not_implemented(
            "hide everything below a layer whose parents are not known yet",
        ));
    };
    for path in paths {
        let lower = target::open(path)?;
        let names = descent::names(lower.as_fd())
            .map_err(|error| failed_io("apply whiteout", name, &error))?;
        for listed in names {
            match mark(directory, &listed.name) {
                // This layer has one of that name, or a layer above had.
                Ok(()) => {}
                Err(Errno::EXIST) => hide_folder(directory, &listed)
                    .map_err(|error| failed_io("apply whiteout", name, &error))?,
                Err(error) => return Err(failed("apply whiteout", name, error)),
            }
        }
    }
    Ok(())
}

fn hide_folder(directory: &Directory, listed: &Listed) -> io::Result<()> {
    match descent::open_dir(directory.as_fd(), &listed.name) {
        Ok(folder) => directories::hide_below(folder.as_fd()),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTDIR | Errno::LOOP)) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Opens a directory once more, since reading moves a descriptor.
fn again(directory: &Directory) -> io::Result<OwnedFd> {
    descent::open_dir(directory.as_fd(), c".")
}
