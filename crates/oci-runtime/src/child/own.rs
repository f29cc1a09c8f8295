//! Keeping a container from running the program that makes it.
//!
//! Until `execve` the child is a copy of the creator, and `/proc/self/exe` leads to the creator's
//! file on the host. An image whose program is that path, a link to it, or a script with it as its
//! interpreter would run the host's file with libraries of the image's choice, and others in the
//! container could then open it for writing (CVE-2019-5736). So these are refused.
//!
//! A file that is exchanged between the look and `execve` is not seen here. A creator that is started
//! from [`stowd_sys::own_program::open`] has nothing that could be written to, whatever runs.

use std::ffi::CStr;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::{Errno, Result};

/// What tells a file from all others: its device and inode.
pub(crate) type FileId = (u64, u64);

/// How many interpreters deep the kernel goes.
const MAX_DEPTH: usize = 5;

/// Fails with `EACCES` if running the file at `path` would run `own`.
pub(super) fn refuse(path: &CStr, own: FileId) -> Result<()> {
    let mut line = [0u8; 256];
    let mut length = look(path, own, &mut line)?;
    for _ in 0..MAX_DEPTH {
        let Some(interpreter) = interpreter(&mut line[..length]) else { return Ok(()) };
        let mut next = [0u8; 256];
        length = look(interpreter, own, &mut next)?;
        line = next;
    }
    Ok(())
}

/// Compares a file with `own` and reads its beginning, of which it gives the length with one byte
/// more for an end.
fn look(path: &CStr, own: FileId, line: &mut [u8; 256]) -> Result<usize> {
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) if (stat.st_dev, stat.st_ino) == own => Err(Errno::ACCESS),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(beginning(path, line).map_or(0, |length| length + 1))
        }
        // What is not there, or no file, cannot run either; `execve` says so better.
        _ => Ok(0),
    }
}

/// Reads as much of a file as the kernel looks at. One that may be run but not read is no script that
/// the kernel could run.
fn beginning(path: &CStr, line: &mut [u8; 256]) -> Result<usize> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty())?;
    rustix::io::read(&file, &mut line[..255])
}

/// The path after `#!`, ended in place.
fn interpreter(line: &mut [u8]) -> Option<&CStr> {
    let rest = line.strip_prefix(b"#!")?;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = 2 + rest.iter().position(|byte| !blank(byte))?;
    let end = line[start..].iter().position(|byte| blank(byte) || matches!(byte, b'\n' | 0));
    let end = start + end.unwrap_or(line.len() - start);
    // `look` left room for it.
    *line.get_mut(end)? = 0;
    CStr::from_bytes_with_nul(&line[start..=end]).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn interpreters_are_found_as_the_kernel_finds_them() {
        let found = |text: &[u8]| {
            let mut line = [0u8; 256];
            line[..text.len()].copy_from_slice(text);
            interpreter(&mut line[..text.len() + 1]).map(CStr::to_owned)
        };
        assert_eq!(found(b"#! /bin/sh -e\nx").as_deref(), Some(c"/bin/sh"));
        assert_eq!(found(b"#!/bin/sh").as_deref(), Some(c"/bin/sh"));
        assert_eq!(found(b"#!\t/proc/self/exe\n").as_deref(), Some(c"/proc/self/exe"));
        assert_eq!(found(b"\x7fELF"), None);
        assert_eq!(found(b""), None);
    }

    #[test]
    fn the_own_program_is_refused_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let meta = std::fs::metadata("/proc/self/exe").unwrap();
        let own = (meta.dev(), meta.ino());
        let try_path = |path: &std::path::Path| {
            refuse(&std::ffi::CString::new(path.to_str().unwrap()).unwrap(), own)
        };
        let (link, script) = (dir.path().join("link"), dir.path().join("script"));
        std::os::unix::fs::symlink("/proc/self/exe", &link).unwrap();
        std::fs::write(&script, format!("#! {}\n", link.display())).unwrap();
        let over = dir.path().join("over");
        std::fs::write(&over, format!("#!{} x\n", script.display())).unwrap();
        let short = dir.path().join("short");
        std::fs::write(&short, "#!/proc/self/exe").unwrap();
        for path in [&link, &script, &over, &short] {
            assert_eq!(try_path(path), Err(Errno::ACCESS), "{path:?}");
        }
        assert_eq!(try_path("/bin/sh".as_ref()), Ok(()));
    }
}
