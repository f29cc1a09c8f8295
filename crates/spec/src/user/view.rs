//! A container's files, read without mounting them.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fgetxattr, openat, readlinkat, statat};
use rustix::io::Errno;
use stowd_core::mount::Mount;

use super::RootFiles;
use crate::{Error, Result};

/// A root file system: a directory, or directories stacked as overlayfs would stack them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootView {
    /// The topmost first.
    layers: Vec<PathBuf>,
}

impl RootView {
    /// The root in a directory.
    pub fn at(path: impl Into<PathBuf>) -> RootView {
        RootView { layers: vec![path.into()] }
    }

    /// The root that these mounts would show. Fails with [`Error::NeedsMount`] unless they are one
    /// bind or overlay mount.
    pub fn of_mounts(mounts: &[Mount]) -> Result<RootView> {
        let [mount] = mounts else {
            let kind = mounts.last().map(|mount| mount.kind.clone()).unwrap_or_default();
            return Err(Error::NeedsMount { kind });
        };
        match mount.kind.as_str() {
            "bind" | "rbind" => Ok(RootView::at(&mount.source)),
            "overlay" => {
                let upper = mount.option("upperdir").map(PathBuf::from);
                let lower = mount.option("lowerdir").unwrap_or_default();
                let lower = split_unescaped(lower).into_iter().map(PathBuf::from);
                let layers: Vec<PathBuf> = upper.into_iter().chain(lower).collect();
                if layers.is_empty() {
                    return Err(Error::NeedsMount { kind: mount.kind.clone() });
                }
                Ok(RootView { layers })
            }
            kind => Err(Error::NeedsMount { kind: kind.into() }),
        }
    }
}

impl RootFiles for RootView {
    fn read(&self, path: &'static str) -> Result<Option<Vec<u8>>> {
        let failed = |errno: Errno| Error::io("open in the container's root", path)(errno.into());
        let Some((dir, name)) = self.find(path)? else { return Ok(None) };
        // Only what is a file without doubt is opened: a pipe or device could block, or worse.
        let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(not_a_file(path));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&dir, &name, flags, Mode::empty()).map_err(failed)?;
        let mut bytes = Vec::new();
        let file = std::fs::File::from(file);
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::UserFile { path, reason: "is larger than 10 MiB" });
        }
        Ok(Some(bytes))
    }
}

/// The largest list of users that is believed.
const LARGEST: u64 = 10 << 20;
/// The most symbolic links on one path, as in the kernel.
const MOST_LINKS: usize = 40;

/// A directory of the stack: where it is in each layer that has it, the topmost first.
type Stack = Vec<OwnedFd>;

/// What a name in a stacked directory stands for.
enum Entry {
    Nothing,
    Directory(Stack),
    Link(Vec<OsString>, Start),
    /// Anything else; the layer of the stack that has it.
    Other(usize),
}

/// Where a link's target starts.
enum Start {
    Root,
    Here,
}

impl RootView {
    /// Follows `path` from the root; every link stays within it. Gives the directory (in one layer) and
    /// the name in it.
    fn find(&self, path: &'static str) -> Result<Option<(OwnedFd, OsString)>> {
        let failed =
            |errno: Errno| Error::io("look up in the container's root", path)(errno.into());
        let root = || -> Result<Stack> {
            self.layers.iter().map(|layer| open_layer(layer)).collect::<Result<_>>()
        };
        // The directories from the root to where we are; ".." goes back, and not beyond the root.
        let mut trail = vec![root()?];
        let mut names: Vec<OsString> = parts(path.as_bytes().to_vec());
        names.reverse();
        let mut links = 0;
        while let Some(name) = names.pop() {
            if name == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let Some(here) = trail.last_mut() else { return Ok(None) };
            match look_up(here, &name).map_err(failed)? {
                Entry::Nothing => return Ok(None),
                Entry::Directory(_) if names.is_empty() => return Err(not_a_file(path)),
                Entry::Directory(stack) => trail.push(stack),
                Entry::Other(layer) if names.is_empty() => {
                    return Ok(Some((here.swap_remove(layer), name)));
                }
                Entry::Other(_) => return Ok(None),
                Entry::Link(target, start) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(failed(Errno::LOOP));
                    }
                    if let Start::Root = start {
                        trail.truncate(1);
                    }
                    names.extend(target.into_iter().rev());
                }
            }
        }
        Ok(None)
    }
}

fn look_up(stack: &Stack, name: &OsString) -> Result<Entry, Errno> {
    let mut below = Stack::new();
    for (layer, dir) in stack.iter().enumerate() {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let child = openat(dir, name, flags, Mode::empty())?;
            let opaque = is_opaque(&child);
            below.push(child);
            if opaque {
                break;
            }
            continue;
        }
        // Under a directory, anything else is hidden; a whiteout hides what is under it.
        if !below.is_empty() || kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            break;
        }
        if kind == FileType::Symlink {
            let target = readlinkat(dir, name, Vec::new())?.into_bytes();
            let start = if target.starts_with(b"/") { Start::Root } else { Start::Here };
            return Ok(Entry::Link(parts(target), start));
        }
        return Ok(Entry::Other(layer));
    }
    Ok(if below.is_empty() { Entry::Nothing } else { Entry::Directory(below) })
}

fn not_a_file(path: &'static str) -> Error {
    Error::UserFile { path, reason: "is not a regular file" }
}

fn is_opaque(dir: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0u8; 1];
        fgetxattr(dir, *name, &mut value[..]) == Ok(1) && value == *b"y"
    })
}

fn open_layer(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::io("open the container's root", path)(errno.into()))
}

fn parts(path: Vec<u8>) -> Vec<OsString> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

/// Splits overlay's `lowerdir` at colons, but those after a backslash, which is dropped.
fn split_unescaped(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match (character, parts.last_mut()) {
            (':', _) => parts.push(String::new()),
            ('\\', Some(part)) => part.extend(characters.next()),
            (other, Some(part)) => part.push(other),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
