//! Walking two trees side by side.
//!
//! Names come in the order of their bytes, directories before what is in them. What is gone with its
//! directory, or by something else in a directory's place, is not told one by one.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;
use rustix::io::Errno;
use stowd_core::Error;
use stowd_sys::xattr;

use super::Fault;
use super::layer::{CAPABILITY, Folder, Layer};
use super::trees::{Node, Stack, Trees, failed, failed_io};
use crate::tar::Output;

/// A directory being walked.
struct Level {
    /// What is still to be looked at, the last first.
    names: Vec<CString>,
    lower: Stack,
    upper: Stack,
    /// What was gone into.
    entered: Stack,
    folder: Rc<Folder>,
}

/// Two walked trees and what is found of their differences.
pub(super) struct Walk<'a, O> {
    trees: Trees,
    layer: Layer<O>,
    given_up: &'a AtomicBool,
    /// Two pieces of files that are compared.
    pieces: Option<Box<[[u8; PIECE]; 2]>>,
}

const PIECE: usize = 64 << 10;

impl<'a, O: Output> Walk<'a, O> {
    pub(super) fn new(trees: Trees, layer: Layer<O>, given_up: &'a AtomicBool) -> Self {
        Self { trees, layer, given_up, pieces: None }
    }

    /// Writes what leads from the lower to the upper tree, and returns where it was written to.
    pub(super) fn run(mut self) -> Result<O, Fault> {
        let (lower, upper) = (self.trees.lower.clone(), self.trees.upper.clone());
        let names = self.trees.names(&lower, &upper)?;
        let mut levels =
            vec![Level { names, lower, upper, entered: Stack::new(), folder: Folder::top() }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                self.trees.leave(&level.entered)?;
                levels.pop();
                continue;
            };
            self.check()?;
            if let Some(below) = self.look(level, &name)? {
                levels.push(below);
            }
        }
        Ok(self.layer.finish()?)
    }

    fn check(&self) -> Result<(), Error> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Error::canceled("the caller went away"));
        }
        Ok(())
    }

    /// Looks at one name; returns the directory that it is, if there is something to be found in it.
    fn look(&mut self, level: &Level, name: &CStr) -> Result<Option<Level>, Fault> {
        let lower = self.trees.find(&level.lower, name)?;
        let upper = self.trees.find(&level.upper, name)?;
        let (upper, lower) = match (upper, lower) {
            (None, None) => return Ok(None),
            // No layer can hold a socket.
            (Some(upper), lower) if upper.kind() == FileType::Socket => match lower {
                Some(lower) if lower.kind() != FileType::Socket => (None, Some(lower)),
                _ => return Ok(None),
            },
            (upper, lower) => (upper, lower),
        };
        let Some(upper) = upper else {
            self.layer.remove(&level.folder, name)?;
            return Ok(None);
        };
        let same = match &lower {
            Some(lower) => self.is_same(lower, &upper, name)?,
            None => false,
        };
        if upper.kind() != FileType::Directory {
            match same {
                true => self.layer.unchanged(&level.folder, name, &upper, &self.trees)?,
                false => self.layer.add(&level.folder, name, &upper, &self.trees)?,
            }
            return Ok(None);
        }
        let below = lower.filter(|lower| lower.kind() == FileType::Directory);
        let below = below.map(|lower| lower.stack).unwrap_or_default();
        if same && below == upper.stack {
            return Ok(None);
        }
        let folder = self.layer.folder(&level.folder, name, &upper, &self.trees)?;
        if !same {
            self.layer.write_folder(&folder)?;
        }
        let entered = self.trees.enter([&below, &upper.stack], name)?;
        let names = self.trees.names(&below, &upper.stack)?;
        Ok(Some(Level { names, lower: below, upper: upper.stack, entered, folder }))
    }

    /// Says whether a name means the same in both trees: the same file, or one that looks as if it was
    /// never changed. Times of directories do not count, nor attributes that layers do not carry.
    fn is_same(&mut self, lower: &Node, upper: &Node, name: &CStr) -> Result<bool, Fault> {
        if lower.identity() == upper.identity() {
            return Ok(true);
        }
        let (old, new) = (&lower.stat, &upper.stat);
        let described =
            |stat: &rustix::fs::Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
        if described(old) != described(new) {
            return Ok(false);
        }
        let is_dir = upper.kind() == FileType::Directory;
        let written = |stat: &rustix::fs::Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if !is_dir && written(old) != written(new) {
            return Ok(false);
        }
        let capability = |node: &Node| {
            xattr::get(node.place(&self.trees), name, CAPABILITY)
                .map_err(|error| failed_io("read attributes of", name, &error))
        };
        if capability(lower)? != capability(upper)? {
            return Ok(false);
        }
        // Archives keep whole seconds, so equal ones say little.
        if is_dir || new.st_mtime_nsec != 0 {
            return Ok(true);
        }
        match upper.kind() {
            FileType::Symlink => {
                let target = |node: &Node| {
                    rustix::fs::readlinkat(node.place(&self.trees), name, Vec::new())
                        .map_err(|error| failed("read link", name, error))
                };
                Ok(target(lower)? == target(upper)?)
            }
            FileType::RegularFile if new.st_size > 0 => {
                let files =
                    [self.trees.open_file(lower, name)?, self.trees.open_file(upper, name)?];
                self.have_same_content(&files, name)
            }
            _ => Ok(true),
        }
    }

    fn have_same_content(&mut self, files: &[OwnedFd; 2], name: &CStr) -> Result<bool, Fault> {
        let pieces = self.pieces.get_or_insert_with(|| Box::new([[0; PIECE]; 2]));
        loop {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(Error::canceled("the caller went away").into());
            }
            let [one, other] = &mut **pieces;
            let count = fill(&files[0], one, name)?;
            if count != fill(&files[1], other, name)? || one[..count] != other[..count] {
                return Ok(false);
            }
            if count < PIECE {
                return Ok(true);
            }
        }
    }
}

/// Fills a piece as far as there is data.
fn fill(file: &OwnedFd, piece: &mut [u8], name: &CStr) -> Result<usize, Error> {
    let mut have = 0;
    while have < piece.len() {
        match rustix::io::read(file, &mut piece[have..]) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed("read", name, error)),
        }
    }
    Ok(have)
}
