//! Paths inside the container's root, which nothing leads out of.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat_raw};
use rustix::io::{Errno, Result};

/// The longest path that the kernel takes, its end included.
const PATH_MAX: usize = 4096;
/// How many dangling links are followed before it is a loop.
const MAX_LINKS: usize = 40;

/// Opens what is at `path` as if `root` were `/`: neither `..` nor links lead out.
pub(super) fn open_in(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    loop {
        // A rename elsewhere can make the kernel unsure whether it stayed inside.
        match openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// What was found, or made, at a path.
pub(super) struct Found {
    pub(super) fd: OwnedFd,
    pub(super) existed: bool,
}

/// Opens the directory at `path`, made with all above it where they are missing.
pub(super) fn make_dir(root: BorrowedFd<'_>, path: &CStr) -> Result<Found> {
    match open_in(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(fd) => return Ok(Found { fd, existed: true }),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let mut buffer = Buffer::new(path)?;
    let mut links = 0;
    let mut end = 0;
    loop {
        let Some((start, stop)) = buffer.part(end) else {
            return Ok(Found {
                fd: open_in(root, buffer.all(), OFlags::PATH | OFlags::DIRECTORY)?,
                existed: false,
            });
        };
        end = stop;
        let found =
            buffer.upto(stop, |prefix| open_in(root, prefix, OFlags::PATH | OFlags::DIRECTORY));
        match found {
            Ok(_) => continue,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let parent = match start {
            0 => root.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
            _ => buffer
                .upto(start, |prefix| open_in(root, prefix, OFlags::PATH | OFlags::DIRECTORY))?,
        };
        let made =
            buffer.name(start, stop, |name| match mkdirat(&parent, name, Mode::from(0o755)) {
                Err(Errno::EXIST) => {
                    // A link to what is not there: it becomes what the link says.
                    let mut target = [0u8; PATH_MAX];
                    let length = readlinkat_raw(&parent, name, &mut target[..])?;
                    Ok(Some((target, length)))
                }
                result => result.map(|()| None),
            })?;
        if let Some((target, length)) = made {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            buffer.splice(start, stop, &target[..length])?;
            end = 0;
        }
    }
}

/// Opens the file at `path`, made empty if it is missing.
pub(super) fn make_file(root: BorrowedFd<'_>, path: &CStr) -> Result<Found> {
    match open_in(root, path, OFlags::PATH) {
        Ok(fd) => return Ok(Found { fd, existed: true }),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    with_parent(root, path, |parent, name| {
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        drop(openat(parent, name, flags, Mode::from(0o644))?);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Found { fd: openat(parent, name, flags, Mode::empty())?, existed: false })
    })
}

/// Gives the directory that `path` is in, made if it is missing, and the last part.
pub(super) fn with_parent<T>(
    root: BorrowedFd<'_>,
    path: &CStr,
    act: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<T>,
) -> Result<T> {
    let mut buffer = Buffer::new(path)?;
    let bytes = path.to_bytes();
    let last = bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let name =
        CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[last..]).map_err(|_| Errno::INVAL)?;
    if name.is_empty() {
        return Err(Errno::INVAL);
    }
    if bytes[..last].iter().all(|&byte| byte == b'/') {
        return act(root, name);
    }
    let parent = buffer.upto(last, |prefix| make_dir(root, prefix))?;
    act(parent.fd.as_fd(), name)
}

/// A path that can be cut and mended in place.
struct Buffer {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Buffer {
    fn new(path: &CStr) -> Result<Buffer> {
        let path = path.to_bytes();
        let mut bytes = [0u8; PATH_MAX];
        bytes.get_mut(..path.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path);
        if path.len() == PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(Buffer { bytes, length: path.len() })
    }

    fn all(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// The next part from `from` on: where it starts and ends.
    fn part(&self, from: usize) -> Option<(usize, usize)> {
        let rest = &self.bytes[from..self.length];
        let start = from + rest.iter().position(|&byte| byte != b'/')?;
        let rest = &self.bytes[start..self.length];
        let stop = rest.iter().position(|&byte| byte == b'/').map_or(self.length, |at| start + at);
        Some((start, stop))
    }

    fn upto<T>(&mut self, stop: usize, act: impl FnOnce(&CStr) -> T) -> T {
        self.name(0, stop, act)
    }

    fn name<T>(&mut self, start: usize, stop: usize, act: impl FnOnce(&CStr) -> T) -> T {
        let kept = std::mem::replace(&mut self.bytes[stop], 0);
        let result = act(CStr::from_bytes_until_nul(&self.bytes[start..]).unwrap_or(c""));
        self.bytes[stop] = kept;
        result
    }

    /// Puts a link's target in the place of the part from `start` to `stop`.
    fn splice(&mut self, start: usize, stop: usize, target: &[u8]) -> Result<()> {
        let old = self.bytes;
        // An absolute target begins at the root again.
        let head = if target.first() == Some(&b'/') { 0 } else { start };
        let tail = &old[stop..self.length];
        let length = head + target.len() + tail.len();
        if length >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes = [0; PATH_MAX];
        self.bytes[..head].copy_from_slice(&old[..head]);
        self.bytes[head..head + target.len()].copy_from_slice(target);
        self.bytes[head + target.len()..length].copy_from_slice(tail);
        self.length = length;
        Ok(())
    }
}
