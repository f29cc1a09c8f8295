//! Mounts that live as long as a piece of work.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use stowd_core::mount::Mount;

use crate::error::{MountError, Result};
use crate::overlay;
use crate::perform::{mount_all, unmount_all, unmount_mounts};

/// A directory in which temporary mounts are made, and nothing else is.
///
/// A process that was killed leaves its mounts behind; the next one that opens the same directory
/// undoes them. So a directory belongs to one process at a time.
#[derive(Debug)]
pub struct TempRoot {
    path: PathBuf,
    next: AtomicU64,
}

/// A temporary mount. Dropping it undoes it.
#[derive(Debug)]
pub struct TempMount {
    path: PathBuf,
    mounts: Vec<Mount>,
    open: bool,
}

impl TempRoot {
    /// Opens a directory for temporary mounts, makes it where it is missing, and undoes what an
    /// earlier process left in it.
    ///
    /// # Errors
    /// When the directory cannot be made or a left-over mount cannot be undone.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let failed = |act, error| MountError::Path { act, path: path.clone(), error };
        std::fs::create_dir_all(&path).map_err(|error| failed("make directory", error))?;
        let path = path.canonicalize().map_err(|error| failed("find directory", error))?;
        clear(&path)?;
        Ok(Self { path, next: AtomicU64::new(0) })
    }

    /// Performs mounts at a new directory. Overlays are mounted without `volatile`.
    ///
    /// # Errors
    /// As [`mount_all`].
    pub fn mount(&self, mounts: &[Mount]) -> Result<TempMount> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(number.to_string());
        std::fs::create_dir(&path).map_err(|error| MountError::Path {
            act: "make directory",
            path: path.clone(),
            error,
        })?;
        let mounts = overlay::without_volatile(mounts);
        if let Err(error) = mount_all(&mounts, &path) {
            // Empty, since nothing is mounted there; if not, the next start takes care of it.
            let _ = std::fs::remove_dir(&path);
            return Err(error);
        }
        Ok(TempMount { path, mounts, open: true })
    }
}

impl TempMount {
    /// Returns where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Undoes the mount, and says when that fails.
    ///
    /// # Errors
    /// As [`unmount_all`].
    pub fn close(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        unmount_mounts(&self.mounts, &self.path)?;
        // Only an empty directory goes: were it still mounted, nothing in it would be touched.
        std::fs::remove_dir(&self.path).map_err(|error| MountError::Path {
            act: "remove directory",
            path: self.path.clone(),
            error,
        })
    }
}

impl Drop for TempMount {
    fn drop(&mut self) {
        // Nobody is left to tell; the next start clears what remains.
        let _ = self.undo();
    }
}

fn clear(root: &Path) -> Result<()> {
    let failed = |act, error| MountError::Path { act, path: root.to_owned(), error };
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| failed("read the mount table for", error))?;
    // Later mounts may lie on or in earlier ones.
    for target in targets(&table).into_iter().rev().filter(|t| t != root && t.starts_with(root)) {
        unmount_all(&target)?;
    }
    let entries = std::fs::read_dir(root).map_err(|error| failed("read directory", error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read directory", error))?;
        match std::fs::remove_dir(entry.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(MountError::Path {
                    act: "remove left-over directory",
                    path: entry.path(),
                    error,
                });
            }
        }
    }
    Ok(())
}

/// Reads the mount points out of a mount table (proc_pid_mountinfo(5)).
pub(crate) fn targets(table: &[u8]) -> Vec<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(field))))
        .collect()
}

/// Spaces, tabs, newlines and backslashes stand there as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|d| byte == b'\\' && d.iter().all(|c| matches!(c, b'0'..=b'7')));
        if let Some(digits) = digits {
            let value =
                digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(value.to_le_bytes()[0]);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mount_points_with_odd_names() {
        let table =
            b"25 1 8:1 / / rw - ext4 /dev/sda rw\n26 25 0:5 / /a\\040b\\134c rw - tmpfs t rw\n";
        assert_eq!(targets(table), [PathBuf::from("/"), PathBuf::from("/a b\\c")]);
    }
}
