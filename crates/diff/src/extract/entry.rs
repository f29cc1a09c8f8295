//! Files, directories, links and devices.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use stowd_core::Result;
use stowd_mount::lowers::{Found, IMPLICIT};
use stowd_sys::{tree, xattr};

use super::directories::{self, Directory};
use super::name::{self, Name, Place};
use super::target::{Below, Deletes};
use super::{Extractor, attributes, failed, failed_io};
use crate::tar::read::Archive;
use crate::tar::{Entry, Input, Kind, malformed};

/// What had a name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was {
    Nothing,
    Something,
}

impl Extractor {
    pub(super) fn file<I: Input>(
        &mut self,
        directory: &Directory,
        name: &Name,
        entry: &Entry,
        archive: &mut Archive<I>,
    ) -> Result<()> {
        let file = self.create(directory, name, entry.mode)?;
        let result = match &entry.sparse {
            None => write_all(&file, archive, entry.size, None),
            Some(sparse) => {
                rustix::fs::ftruncate(&file, sparse.length).map_err(Fault::Kernel).and_then(|()| {
                    let mut pieces = sparse.pieces.iter();
                    pieces.try_for_each(|piece| {
                        write_all(&file, archive, piece.length, Some(piece.offset))
                    })
                })
            }
        };
        match result {
            Ok(()) => self.describe_open(directory, file.as_fd(), name, entry),
            Err(Fault::Layer(error)) => Err(error),
            Err(Fault::Kernel(error)) => Err(failed("write", name, error)),
        }
    }

    fn create(&mut self, directory: &Directory, name: &Name, mode: u32) -> Result<OwnedFd> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let mut result = rustix::fs::openat(directory, &name.base, flags, mode);
        if matches!(result, Err(Errno::EXIST)) {
            self.vacate(directory, &name.base)
                .map_err(|error| failed_io("replace", name, &error))?;
            result = rustix::fs::openat(directory, &name.base, flags, mode);
        }
        result.map_err(|error| failed("create", name, error))
    }

    pub(super) fn folder(
        &mut self,
        directory: &Directory,
        name: &Name,
        entry: &Entry,
    ) -> Result<()> {
        let fail = |error| failed("make directory", name, error);
        let mode = Mode::from_raw_mode(entry.mode & 0o1777);
        let mut was_there = false;
        match rustix::fs::mkdirat(directory, &name.base, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if self.is_folder(directory, &name.base).map_err(fail)? {
                    was_there = true;
                    self.no_longer_implied(directory, &name.base)
                        .map_err(|error| failed_io("make directory", name, &error))?;
                } else {
                    self.vacate(directory, &name.base)
                        .map_err(|error| failed_io("replace", name, &error))?;
                    rustix::fs::mkdirat(directory, &name.base, mode).map_err(fail)?;
                    if matches!(self.target.deletes, Deletes::Marks(_)) {
                        // What was there hid the directory of the layers below, if any.
                        let made = open_folder(directory, &name.base).map_err(fail)?;
                        directories::hide_below(made.as_fd())
                            .map_err(|error| failed_io("make directory", name, &error))?;
                    }
                }
            }
            Err(error) => return Err(fail(error)),
        }
        self.describe_folder(directory, name, entry, was_there)?;
        let mut path = name.parent.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.base.to_bytes());
        let (accessed, modified) = attributes::times(entry);
        self.later.add(&mut self.directories, path, accessed, modified)
    }

    pub(super) fn special(
        &mut self,
        directory: &Directory,
        name: &Name,
        entry: &Entry,
    ) -> Result<()> {
        let mut result = make_special(directory, &name.base, entry);
        if matches!(result, Err(Errno::EXIST)) {
            self.vacate(directory, &name.base)
                .map_err(|error| failed_io("replace", name, &error))?;
            result = make_special(directory, &name.base, entry);
        }
        match result {
            Ok(()) => self.describe(directory, name, entry),
            // As containerd has it: nobody makes devices there, and images with some work without.
            Err(Errno::PERM)
                if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice)
                    && in_user_namespace() =>
            {
                tracing::warn!(file = %name, "left out a device: this is a user namespace");
                Ok(())
            }
            // An empty target, which no file system takes.
            Err(Errno::NOENT) => Err(malformed(format_args!("link {name} without a target"))),
            Err(error) => Err(failed("make", name, error)),
        }
    }

    /// Links to what another entry, or a layer below, brought. It has its attributes from there.
    pub(super) fn hard_link(
        &mut self,
        directory: &Directory,
        name: &Name,
        entry: &Entry,
    ) -> Result<()> {
        let Place::Inside(target) = name::place(&entry.link)? else {
            return Err(malformed(format_args!("hard link {name} to no file")));
        };
        let found = self.link_target(&target)?;
        let Some((place, stat)) = found else {
            return Err(malformed(format_args!(
                "hard link {name} to {target}, which is not there"
            )));
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(malformed(format_args!("hard link {name} to the directory {target}")));
        }
        let link = || {
            let flags = AtFlags::empty();
            rustix::fs::linkat(place.as_fd(), &target.base, directory, &name.base, flags)
        };
        let mut result = link();
        if matches!(result, Err(Errno::EXIST)) {
            let there = rustix::fs::statat(directory, &name.base, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed("replace", name, error))?;
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            self.vacate(directory, &name.base)
                .map_err(|error| failed_io("replace", name, &error))?;
            result = link();
        }
        result.map_err(|error| match error {
            // It went with what the link replaces.
            Errno::NOENT => malformed(format_args!("hard link {name} replaces its own target")),
            error => failed("link", name, error),
        })
    }

    fn link_target(&mut self, target: &Name) -> Result<Option<(Rc<Directory>, Stat)>> {
        let fail = |error| failed("look at", target, error);
        let look = |place: &Directory| match rustix::fs::statat(
            place,
            &target.base,
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(fail(error)),
        };
        if let Some(place) = self.directories.find(&target.parent).map_err(fail)?
            && let Some(stat) = look(&place)?
        {
            return Ok(Some((place, stat)));
        }
        let Deletes::Marks(Below::Known(lowers, _)) = &self.target.deletes else {
            return Ok(None);
        };
        let path = name::parts(target);
        let fail_io = |error: io::Error| failed_io("look at", target, &error);
        let Some(found) = lowers.find(&path).map_err(fail_io)? else { return Ok(None) };
        if FileType::from_raw_mode(found.stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // As the kernel would do it for a link made in the overlay.
        let place = self.directory(&target.parent)?;
        self.copy_up(&place, target, &found)?;
        Ok(look(&place)?.map(|stat| (place, stat)))
    }

    fn copy_up(&mut self, place: &Directory, target: &Name, found: &Found) -> Result<()> {
        let to = self.create(place, target, found.stat.st_mode & 0o7777)?;
        let copy = || {
            let from = found.open()?;
            let length = u64::try_from(found.stat.st_size).unwrap_or(0);
            stowd_sys::copy::content(from.as_fd(), to.as_fd(), length)?;
            stowd_sys::attributes::copy_open(from.as_fd(), to.as_fd(), &found.stat)?;
            // What overlayfs noted there is about the place it was in.
            for key in xattr::list_open(to.as_fd())? {
                if key.to_bytes().starts_with(b"trusted.overlay.") {
                    xattr::remove_open(to.as_fd(), &key)?;
                }
            }
            Ok(())
        };
        copy().map_err(|error: io::Error| failed_io("copy", target, &error))
    }

    fn is_folder(&self, directory: &Directory, name: &CStr) -> Result<bool, Errno> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn no_longer_implied(&self, directory: &Directory, name: &CStr) -> io::Result<()> {
        match &self.target.deletes {
            Deletes::Marks(Below::Later) => {
                let there = open_folder(directory, name)?;
                xattr::remove_open(there.as_fd(), IMPLICIT)
            }
            _ => Ok(()),
        }
    }

    /// Removes whatever has that name.
    pub(super) fn vacate(&mut self, directory: &Directory, name: &CStr) -> io::Result<Was> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Was::Nothing),
            Err(error) => return Err(error.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            // A known path may lead through it.
            self.directories.forget();
        }
        tree::remove(directory.as_fd(), name)?;
        Ok(Was::Something)
    }
}

/// Why a file could not be written.
enum Fault {
    Layer(stowd_core::Error),
    Kernel(Errno),
}

/// Writes so many bytes of the archive's current body to a file, at an offset or where it stands.
fn write_all<I: Input>(
    file: &OwnedFd,
    archive: &mut Archive<I>,
    mut left: u64,
    mut at: Option<u64>,
) -> Result<(), Fault> {
    while left > 0 {
        let data = archive.body().map_err(Fault::Layer)?;
        if data.is_empty() {
            return Err(Fault::Layer(malformed("a file ends in the middle")));
        }
        let data = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let result = match at {
            None => rustix::io::write(file, data),
            Some(at) => rustix::io::pwrite(file, data, at),
        };
        let count = match result {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(Fault::Kernel(error)),
        };
        archive.consume(count);
        left -= count as u64;
        at = at.map(|at| at + count as u64);
    }
    Ok(())
}

fn make_special(directory: &Directory, name: &CStr, entry: &Entry) -> Result<(), Errno> {
    let kind = match entry.kind {
        Kind::Symlink => return rustix::fs::symlinkat(&entry.link[..], directory, name),
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let device = rustix::fs::makedev(entry.device.0, entry.device.1);
    rustix::fs::mknodat(directory, name, kind, Mode::from_raw_mode(entry.mode), device)
}

/// Says whether this process sees only some of the machine's ids.
fn in_user_namespace() -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn open_folder(directory: &Directory, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
