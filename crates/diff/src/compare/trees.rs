//! The two trees, seen through the directories that they are made of.
//!
//! A tree is a stack of directories and shows what overlayfs would show of it; a single directory is
//! the simplest stack. Directories that both trees have are opened once, and their places in the two
//! stacks tell what the trees share.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use stowd_core::mount::Mount;
use stowd_core::{Error, Result};
use stowd_mount::lowers::is_whiteout;
use stowd_mount::overlay::Layers;
use stowd_sys::descent::{self, Descent};
use stowd_sys::xattr;

use super::{Fault, mounted};

/// A directory of a tree: the directories that together show it, topmost first, by their numbers.
pub(super) type Stack = Vec<usize>;

/// Two trees, each at the same path.
pub(super) struct Trees {
    sources: Vec<Source>,
    /// The stacks of the two top directories.
    pub(super) lower: Stack,
    pub(super) upper: Stack,
}

/// How a tree's directories are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Those that the mounts name are looked at, and nothing is mounted.
    Unmounted,
    /// The kernel shows the tree.
    Mounted,
}

/// What a tree shows under a name.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) stat: Stat,
    /// The directories that show it; one for all but directories.
    pub(super) stack: Stack,
}

struct Source {
    descent: Descent,
    identity: (u64, u64),
    /// The attributes by which overlayfs tells what it means, where it is part of an overlay.
    marks: Option<&'static Marks>,
}

/// Names of overlayfs' attributes.
#[derive(Debug)]
struct Marks {
    opaque: &'static CStr,
    redirect: &'static CStr,
    metacopy: &'static CStr,
}

const TRUSTED: Marks = Marks {
    opaque: c"trusted.overlay.opaque",
    redirect: c"trusted.overlay.redirect",
    metacopy: c"trusted.overlay.metacopy",
};

const USER: Marks = Marks {
    opaque: c"user.overlay.opaque",
    redirect: c"user.overlay.redirect",
    metacopy: c"user.overlay.metacopy",
};

impl Trees {
    /// Finds the directories of two trees.
    pub(super) fn open(lower: &[Mount], upper: &[Mount], view: View) -> Result<Self, Fault> {
        let mut trees = Self { sources: Vec::new(), lower: Vec::new(), upper: Vec::new() };
        trees.lower = trees.add(lower, view)?;
        trees.upper = trees.add(upper, view)?;
        Ok(trees)
    }

    fn add(&mut self, mounts: &[Mount], view: View) -> Result<Stack, Fault> {
        match (mounts, view) {
            // Nothing is below the first layer.
            ([], _) => Ok(Stack::new()),
            ([mount], View::Unmounted) if mount.target.is_empty() => match mount.kind.as_str() {
                "bind" | "rbind" => {
                    let top = open_top(Path::new(&mount.source))?;
                    Ok(vec![self.add_source(top, None)?])
                }
                "overlay" => self.add_overlay(mount),
                _ => Err(Fault::Unusual),
            },
            (_, View::Unmounted) => Err(Fault::Unusual),
            (mounts, View::Mounted) => Ok(vec![self.add_source(mounted::open(mounts)?, None)?]),
        }
    }

    fn add_overlay(&mut self, mount: &Mount) -> Result<Stack, Fault> {
        let user = mount.options.iter().any(|option| option == "userxattr");
        let marks = if user { &USER } else { &TRUSTED };
        let Layers { upper, lower } = Layers::of(mount);
        let mut stack = Stack::new();
        for path in upper.iter().chain(&lower) {
            if path.is_empty() {
                // `::` comes before directories that hold only data.
                return Err(Fault::Unusual);
            }
            let top = open_top(Path::new(path))?;
            marks.opacity(|| xattr::get_open(top.as_fd(), marks.opaque))?;
            stack.push(self.add_source(top, Some(marks))?);
        }
        Ok(stack)
    }

    /// Returns the number of a top directory.
    fn add_source(&mut self, top: OwnedFd, marks: Option<&'static Marks>) -> Result<usize> {
        let stat = rustix::fs::fstat(&top)
            .map_err(|error| Error::io("look at a tree's top directory", &error.into()))?;
        let identity = (stat.st_dev, stat.st_ino);
        let known = self.sources.iter().position(|source| source.identity == identity);
        let number = known.unwrap_or(self.sources.len());
        if known.is_none() {
            self.sources.push(Source { descent: Descent::new(top), identity, marks: None });
        }
        let source = &mut self.sources[number];
        source.marks = source.marks.or(marks);
        Ok(number)
    }

    /// Returns the directory where one of a stack stands.
    pub(super) fn here(&self, number: usize) -> BorrowedFd<'_> {
        self.sources[number].descent.here()
    }

    /// Lists the names of the current directory that the trees may show differently, the last first.
    pub(super) fn names(&self, lower: &[usize], upper: &[usize]) -> Result<Vec<CString>> {
        let pairs = lower.iter().rev().zip(upper.iter().rev());
        let shared = pairs.take_while(|(lower, upper)| lower == upper).count();
        let own = |stack: &[usize]| stack[..stack.len() - shared].to_vec();
        let mut numbers = own(upper);
        numbers.extend(own(lower));
        // One may be in both, at different heights; it can be read once only.
        numbers.sort_unstable();
        numbers.dedup();
        let mut names = Vec::new();
        for number in numbers {
            let listed = descent::names(self.here(number))
                .map_err(|error| Error::io("read a directory", &error))?;
            names.extend(listed.into_iter().map(|listed| listed.name));
        }
        names.sort_unstable_by(|one, other| other.cmp(one));
        names.dedup();
        Ok(names)
    }

    /// Returns what a stack shows under a name.
    pub(super) fn find(&self, stack: &[usize], name: &CStr) -> Result<Option<Node>, Fault> {
        let mut found: Option<Node> = None;
        for (height, number) in stack.iter().enumerate() {
            let here = self.here(*number);
            let stat = match rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed("look at", name, error).into()),
            };
            if is_whiteout(&stat) {
                break;
            }
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                None => found = Some(Node { stat, stack: vec![*number] }),
                Some(node) if is_dir => node.stack.push(*number),
                Some(_) => break,
            }
            if !is_dir || (height + 1 < stack.len() && self.is_opaque(*number, name)?) {
                break;
            }
        }
        Ok(found)
    }

    /// Says whether a directory hides those of the same name below it.
    fn is_opaque(&self, number: usize, name: &CStr) -> Result<bool, Fault> {
        let Some(marks) = self.sources[number].marks else { return Ok(false) };
        let here = self.here(number);
        let redirect = xattr::get(here, name, marks.redirect)
            .map_err(|error| failed_io("read attributes of", name, &error))?;
        if redirect.is_some() {
            return Err(Fault::Unusual);
        }
        marks.opacity(|| xattr::get(here, name, marks.opaque))
    }

    /// Goes down into a directory that these stacks show.
    pub(super) fn enter(&mut self, stacks: [&[usize]; 2], name: &CStr) -> Result<Stack> {
        let mut entered = stacks.concat();
        entered.sort_unstable();
        entered.dedup();
        for number in &entered {
            self.sources[*number].descent.enter(name).map_err(
                |error| match Errno::from_io_error(&error) {
                    Some(Errno::XDEV) => Error::failed_precondition(format_args!(
                        "something is mounted on {:?} in the tree",
                        name.to_string_lossy()
                    )),
                    _ => failed_io("open directory", name, &error),
                },
            )?;
        }
        Ok(entered)
    }

    /// Goes back up from where [`enter`](Self::enter) went.
    pub(super) fn leave(&mut self, entered: &[usize]) -> Result<()> {
        for number in entered {
            self.sources[*number]
                .descent
                .leave()
                .map_err(|error| Error::io("go back up in a tree", &error))?;
        }
        Ok(())
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, node: &Node, name: &CStr) -> Result<OwnedFd, Fault> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(node.place(self), name, flags, Mode::empty())
            .map_err(|error| failed("open", name, error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", name, error))?;
        if (stat.st_dev, stat.st_ino) != (node.stat.st_dev, node.stat.st_ino) {
            return Err(changed(name).into());
        }
        if let Some(marks) = node.stack.first().and_then(|number| self.sources[*number].marks) {
            let metacopy = xattr::get_open(file.as_fd(), marks.metacopy)
                .map_err(|error| failed_io("read attributes of", name, &error))?;
            if metacopy.is_some() {
                // The content is in a directory below.
                return Err(Fault::Unusual);
            }
        }
        Ok(file)
    }
}

impl Node {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// What tells that two names are one file.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Returns the directory that it is in.
    pub(super) fn place<'a>(&self, trees: &'a Trees) -> BorrowedFd<'a> {
        // No node is without its directory.
        trees.here(self.stack.first().copied().unwrap_or_default())
    }
}

impl Marks {
    /// Reads a directory's opacity; a third value says that files by attribute stand for what is gone.
    fn opacity(
        &self,
        read: impl FnOnce() -> std::io::Result<Option<Vec<u8>>>,
    ) -> Result<bool, Fault> {
        let value = read().map_err(|error| {
            let key = self.opaque.to_string_lossy();
            Error::io(format_args!("read attribute {key} of a directory"), &error)
        })?;
        match value.as_deref() {
            Some(b"y") => Ok(true),
            Some(b"x") => Err(Fault::Unusual),
            _ => Ok(false),
        }
    }
}

fn open_top(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
        Error::io(format_args!("open directory {}", path.display()), &error.into())
    })
}

/// Says that a tree is not what it was a moment ago.
pub(super) fn changed(name: &CStr) -> Error {
    Error::aborted(format_args!("{:?} changed while it was compared", name.to_string_lossy()))
        .hint("pause what works in the tree, then try again")
}

pub(super) fn failed(act: &str, name: &CStr, error: Errno) -> Error {
    failed_io(act, name, &error.into())
}

pub(super) fn failed_io(act: &str, name: &CStr, error: &std::io::Error) -> Error {
    Error::io(format_args!("{act} {:?}", name.to_string_lossy()), error)
}
