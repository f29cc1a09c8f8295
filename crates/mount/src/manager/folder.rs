//! An activation on disk: its mount points, and what is needed to undo them.
//!
//! | name | what |
//! |---|---|
//! | `N` | a mount point, or a link to a loop device; the last that was made is 1 |
//! | `N-type` | what kind is mounted there; for a device, in a second line, the file it is bound to |
//!
//! A type file is there before its mount is, and goes after it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use stowd_core::mounts::State;
use stowd_sys::loop_device::{self, Backing, Binding, LoopDevice};

use crate::error::{MountError, Result};

/// How often a mount in use is tried to undo, and how long it is waited in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// An activation's folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .map_err(failed("make folder", &self.path))
    }

    /// Makes a mount point and writes down what will be mounted there.
    pub(crate) fn point(&self, number: usize, kind: &str) -> Result<PathBuf> {
        self.note(number, kind)?;
        let point = self.path.join(number.to_string());
        fs::create_dir(&point).map_err(failed("make mount point", &point))?;
        Ok(point)
    }

    /// Binds a loop device to a file and makes a link to it; it stays bound until it is undone.
    pub(crate) fn bind(&self, number: usize, kind: &str, source: &Path) -> Result<PathBuf> {
        self.note(number, kind)?;
        let device = LoopDevice::bind(source, Binding::default())
            .map_err(failed("bind a loop device to", source))?;
        let backing = device.backing().map_err(failed("look at", device.path()))?;
        self.note(number, &format!("{kind}\n{}:{}", backing.device, backing.inode))?;
        let point = self.path.join(number.to_string());
        let link = std::os::unix::fs::symlink(device.path(), &point);
        link.map_err(failed("make link", &point))?;
        // Last: until now the device frees itself if this process is killed.
        device.keep().map_err(failed("keep the loop device of", source))?;
        Ok(point)
    }

    fn note(&self, number: usize, text: &str) -> Result<()> {
        let path = self.type_file(number);
        fs::write(&path, text).map_err(failed("write", &path))
    }

    fn type_file(&self, number: usize) -> PathBuf {
        self.path.join(format!("{number}-type"))
    }

    /// Says whether all that was noted down is there. `mounted` are all mount points of the system.
    pub(crate) fn state(&self, mounted: &BTreeSet<PathBuf>) -> State {
        let there = |number: &usize| {
            let point = self.path.join(number.to_string());
            match fs::read_link(&point) {
                Ok(device) => self.backing(*number).is_some_and(|backing| {
                    loop_device::is_bound(&device, backing).unwrap_or(false)
                }),
                Err(_) => mounted.contains(&point),
            }
        };
        match self.numbers() {
            Ok(Some(numbers)) if numbers.iter().all(there) => State::Whole,
            _ => State::Broken,
        }
    }

    /// Undoes all that is there, the last that was made first, and removes the folder. Goes on where
    /// something cannot be undone, and says so at the end.
    pub(crate) fn undo(&self) -> Result<()> {
        let mut result = Ok(());
        for number in self.numbers()?.into_iter().flatten() {
            result = result.and(self.undo_one(number));
        }
        result?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove folder", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes links to devices, which the machine's restart has given to others.
    pub(crate) fn forget_devices(&self) -> Result<()> {
        for number in self.numbers()?.into_iter().flatten() {
            let point = self.path.join(number.to_string());
            if point.is_symlink() {
                fs::remove_file(&point).map_err(failed("remove link", &point))?;
            }
        }
        Ok(())
    }

    fn undo_one(&self, number: usize) -> Result<()> {
        let point = self.path.join(number.to_string());
        if let Ok(device) = fs::read_link(&point) {
            if let Some(backing) = self.backing(number) {
                loop_device::release(&device, backing)
                    .map_err(failed("release loop device", &device))?;
            }
            gone(fs::remove_file(&point)).map_err(failed("remove link", &point))?;
        } else {
            while unmount(&point)? {}
            // Only an empty directory goes: what is not this crate's is not touched.
            gone(fs::remove_dir(&point)).map_err(failed("remove mount point", &point))?;
        }
        let note = self.type_file(number);
        gone(fs::remove_file(&note)).map_err(failed("remove", &note))
    }

    fn backing(&self, number: usize) -> Option<Backing> {
        let text = fs::read_to_string(self.type_file(number)).ok()?;
        let (device, inode) = text.lines().nth(1)?.split_once(':')?;
        Some(Backing { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }

    /// Returns the numbers that there are, or nothing when there is no folder.
    fn numbers(&self) -> Result<Option<BTreeSet<usize>>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read folder", &self.path)(error)),
        };
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed("read folder", &self.path))?.file_name();
            let name = name.to_string_lossy();
            numbers.extend(name.strip_suffix("-type").unwrap_or(&name).parse::<usize>().ok());
        }
        Ok(Some(numbers))
    }
}

/// Undoes a mount, which may be in use for a moment; says whether there was one.
fn unmount(point: &Path) -> Result<bool> {
    let mut tries = 0;
    loop {
        match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(true),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(false),
            Err(Errno::BUSY) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                return Err(MountError::Unmount { target: point.to_owned(), error: error.into() });
            }
        }
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    move |error| MountError::Path { act, path: path.to_owned(), error }
}
