//! Reading and writing the small files of a cgroup, with as few system calls as that takes.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Writes `value` to `dir/file` in one write.
pub(crate) fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    let result = openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|fd| write_all(&fd, value.as_bytes()));
    result.map_err(|source| Error::Write { path, value: value.to_owned(), source })
}

/// Writes a number; see [`write`].
pub(crate) fn write_number(dir: &Path, file: &str, value: impl Display) -> Result<()> {
    write(dir, file, &value.to_string())
}

/// Reads all of `dir/file`.
pub(crate) fn read(dir: &Path, file: &str) -> Result<String> {
    read_path(dir.join(file))
}

/// Reads all of the file at `path`.
pub(crate) fn read_path(path: PathBuf) -> Result<String> {
    match read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(source) => Err(Error::Io { op: "read", path, source }),
    }
}

/// Reads `dir/file`; `None` when there is no such file or the cgroup went away meanwhile.
pub(crate) fn read_if_there(dir: &Path, file: &str) -> Result<Option<String>> {
    match read(dir, file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the one number in `dir/file`; `max` is the largest, negative numbers are zero.
pub(crate) fn read_number(dir: &Path, file: &str) -> Result<u64> {
    let text = read(dir, file)?;
    number(&text).ok_or_else(|| bad(dir, file, &text))
}

/// Like [`read_number`], but `None` when there is no such file.
pub(crate) fn read_number_if_there(dir: &Path, file: &str) -> Result<Option<u64>> {
    match read_if_there(dir, file)? {
        None => Ok(None),
        Some(text) => number(&text).map(Some).ok_or_else(|| bad(dir, file, &text)),
    }
}

/// Understands a cgroup file's number: digits, `max`, or a negative one (which v1 used for "none").
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    if text == "max" {
        return Some(u64::MAX);
    }
    text.parse().ok().or_else(|| i64::from_str(text).is_ok().then_some(0))
}

/// The error for a file whose content is not as documented.
pub(crate) fn bad(dir: &Path, file: &str, text: &str) -> Error {
    let line = text.lines().next().unwrap_or_default();
    Error::Parse { path: dir.join(file), what: format!("unexpected content {line:?}") }
}

pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok()
}

pub(crate) fn write_all(fd: &impl std::os::fd::AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(written) if written >= bytes.len() => return Ok(()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn read_to_string(path: &Path) -> Result<String, Errno> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Most cgroup files fit one page; the kernel fills what is asked for, so a short read is the end
    // for all but the multi-page lists of pids.
    let mut buffer = Vec::with_capacity(4096);
    loop {
        buffer.reserve(1024);
        match rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut buffer)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    String::from_utf8(buffer).map_err(|_| Errno::ILSEQ)
}
