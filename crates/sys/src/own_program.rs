//! A program's file, the running one's own above all, where nobody can write to it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount_attr::{ATTR_RDONLY, MountAttr, Reach, set_attr};

/// Opens the running program's own file as [`open_program`] does.
///
/// # Errors
/// When the program's file is gone, or mounts cannot be copied here.
pub fn open() -> io::Result<OwnedFd> {
    open_program(&std::env::current_exe()?)
}

/// Opens a program's file, by its absolute path without links, on a read-only mount that is nowhere in the file tree.
///
/// A process that is started from it (by the path that [`path`] gives) is the same program under the
/// same name, but whoever gets hold of its `/proc/PID/exe` cannot open that for writing: not root, and
/// not after the process has ended. For programs that processes of containers are cloned from
/// (CVE-2019-5736). Nothing of it is left when the descriptor and the process are gone.
///
/// # Errors
/// When there is no such file, or mounts cannot be copied here.
pub fn open_program(program: &Path) -> io::Result<OwnedFd> {
    let file = openat(CWD, program, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // The mount whole, so that the file keeps its path in it, as far as that is of this mount.
    let top = mount_of(&file)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &top, flags)?;
    set_attr(&tree, Reach::One, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
    let below = program.strip_prefix(Path::new(std::ffi::OsStr::from_bytes(top.as_bytes())));
    let below = below.map_err(|_| io::Error::other("the program is not below its mount"))?;
    let opened = openat(&tree, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // Out of the way of the numbers that a child's streams are copied to before it is started.
    Ok(rustix::io::fcntl_dupfd_cloexec(opened, 10)?)
}

/// A path by which the calling process and its children can start what `program` is.
pub fn path(program: &OwnedFd) -> CString {
    let text = format!("/proc/self/fd/{}", program.as_raw_fd());
    CString::new(text).unwrap_or_default()
}

/// The mount point that an open file is below.
fn mount_of(file: &OwnedFd) -> io::Result<CString> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let point = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        (fields.next() == id).then(|| fields.nth(3)).flatten()
    });
    let point = point.ok_or_else(|| io::Error::other("the program's mount is not known"))?;
    // A mount point with a space or the like is told in octal, and not looked for further.
    CString::new(point).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_from_it_keeps_its_name_and_cannot_be_written_to() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let program = open().unwrap();
        let path = path(&program).into_string().unwrap();
        // Opening it for writing is refused as long as it runs, anywhere; this is refused for ever.
        let same = std::fs::metadata(&path).unwrap().permissions();
        let changed = std::fs::set_permissions(&path, same).unwrap_err();
        assert_eq!(changed.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let shown = std::fs::read_link(&path).unwrap();
        assert_eq!(shown, std::env::current_exe().unwrap());
        let output = std::process::Command::new(&path).arg("--help").output().unwrap();
        assert!(output.status.success());
    }
}
