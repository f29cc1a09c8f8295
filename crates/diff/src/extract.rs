//! Writing a layer's entries into a tree.
//!
//! All names are taken as if the tree were the root of the machine (chroot(2)), by descriptors: what a
//! layer says can overwrite anything in the tree and nothing outside of it.

mod attributes;
mod directories;
mod entry;
mod name;
mod target;
mod whiteout;

use std::collections::HashSet;
use std::ffi::CStr;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::AsFd as _;

use rustix::io::Errno;
use stowd_core::diff::Sync;
use stowd_core::{Error, Result};

use crate::tar::read::Archive;
use crate::tar::{Entry, Input, Kind};
use attributes::Later;
use directories::{Directories, Directory};
use name::{Name, Place};
pub(crate) use target::Target;

/// A tree that entries are written into.
pub(crate) struct Extractor {
    target: Target,
    directories: Directories,
    later: Later,
    /// What this layer brought, where the tree had something before; opaque folders keep it.
    brought: Option<HashSet<u64>>,
    hasher: RandomState,
    /// Who owns what this process makes.
    own: (u32, u32),
}

impl Extractor {
    pub(crate) fn new(target: Target) -> Result<Self> {
        let root = target.open_root()?;
        let empty = stowd_sys::descent::names(root.as_fd())
            .map_err(|error| Error::io("read the tree's top directory", &error))?
            .is_empty();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Self {
            directories: Directories::new(root),
            target,
            later: Later::default(),
            brought: (!empty).then(HashSet::new),
            hasher: RandomState::new(),
            own,
        })
    }

    /// Writes one entry; `archive` stands at its body.
    pub(crate) fn add<I: Input>(&mut self, entry: &Entry, archive: &mut Archive<I>) -> Result<()> {
        let name = match name::place(&entry.name)? {
            Place::Inside(name) => name,
            // The top belongs to whoever made the tree; aufs' own files mean nothing elsewhere.
            Place::Top | Place::Aufs => return Ok(()),
        };
        if let Kind::Unknown(flag) = entry.kind {
            return Err(crate::tar::malformed(format_args!(
                "unhandled tar header type {flag} of {name}"
            )));
        }
        let directory = self.directory(&name.parent)?;
        if let Some(whiteout) = name::whiteout(&name)? {
            return self.white_out(&directory, &name, whiteout);
        }
        self.note(&directory, &name.base);
        match entry.kind {
            Kind::File => self.file(&directory, &name, entry, archive),
            Kind::Directory => self.folder(&directory, &name, entry),
            Kind::HardLink => self.hard_link(&directory, &name, entry),
            _ => self.special(&directory, &name, entry),
        }
    }

    /// Sets what had to wait until all entries were there.
    pub(crate) fn finish(mut self, sync: Sync) -> Result<()> {
        let later = std::mem::take(&mut self.later);
        later.apply(&mut self.directories)?;
        if sync == Sync::Now {
            rustix::fs::syncfs(self.directories.root())
                .map_err(|error| Error::io("flush the tree's file system", &error.into()))?;
        }
        Ok(())
    }

    /// Remembers that this layer brought a name.
    fn note(&mut self, directory: &Directory, base: &CStr) {
        if let Some(brought) = &mut self.brought {
            brought.insert(self.hasher.hash_one((directory.inode, base)));
        }
    }

    fn is_brought(&self, inode: u64, base: &CStr) -> bool {
        match &self.brought {
            Some(brought) => brought.contains(&self.hasher.hash_one((inode, base))),
            None => true,
        }
    }
}

/// Says that something could not be done with a name. What only the layer can be blamed for is an
/// invalid argument.
fn failed(act: &str, name: impl std::fmt::Display, error: Errno) -> Error {
    match error {
        Errno::NAMETOOLONG | Errno::LOOP | Errno::NOTDIR | Errno::ILSEQ | Errno::INVAL => {
            Error::invalid(format_args!("malformed layer: {act} {name}: {error}"))
        }
        error => Error::io(format_args!("{act} {name}"), &error.into()),
    }
}

fn failed_io(act: &str, name: impl std::fmt::Display, error: &std::io::Error) -> Error {
    match Errno::from_io_error(error) {
        Some(errno) => failed(act, name, errno),
        None => Error::io(format_args!("{act} {name}"), error),
    }
}

/// Shows a name in messages.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parent = String::from_utf8_lossy(&self.parent);
        let base = self.base.to_string_lossy();
        let slash = if parent.is_empty() { "" } else { "/" };
        write!(f, "{:?}", format_args!("{parent}{slash}{base}").to_string())
    }
}
