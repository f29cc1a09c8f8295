//! What was found, as entries of a layer (OCI image-spec, layer.md, "Change Types").
//!
//! As containerd writes them: whole seconds, no names of owners, and of extended attributes only the
//! capabilities of programs.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use stowd_core::Result;
use stowd_sys::xattr;

use super::Fault;
use super::trees::{Node, Trees, changed, failed, failed_io};
use crate::tar::write::Archive;
use crate::tar::{Entry, Kind, Output, Time};

/// The attribute that layers carry.
pub(super) const CAPABILITY: &CStr = c"security.capability";

/// A layer being written.
pub(super) struct Layer<O> {
    archive: Archive<O>,
    /// The latest time, in seconds since 1970, that an entry may have.
    latest: Option<i64>,
    /// The first name that each file of several was written under.
    written: HashMap<(u64, u64), Vec<u8>>,
    /// Names of files of several that are as they were. They follow if another name brings the file.
    waiting: HashMap<(u64, u64), Vec<Name>>,
}

/// A directory of the upper tree, which goes before what is in it.
pub(super) struct Folder {
    /// Its name has a slash at the end, but for the top's, which is empty.
    entry: Entry,
    above: Option<Rc<Folder>>,
    is_written: Cell<bool>,
}

/// A name in a directory.
struct Name {
    folder: Rc<Folder>,
    name: Vec<u8>,
}

impl Folder {
    /// Returns the top directory, which is no entry of any layer.
    pub(super) fn top() -> Rc<Self> {
        let entry = bare(Kind::Directory, Vec::new());
        Rc::new(Self { entry, above: None, is_written: Cell::new(true) })
    }

    fn path(&self, name: &CStr) -> Vec<u8> {
        [&self.entry.name, name.to_bytes()].concat()
    }
}

impl<O: Output> Layer<O> {
    /// Begins a layer, none of whose times is later than `latest`.
    pub(super) fn new(output: O, latest: Option<SystemTime>) -> Self {
        Self {
            archive: Archive::new(output),
            latest: latest.map(seconds),
            written: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Describes a directory, without writing it.
    pub(super) fn folder(
        &self,
        above: &Rc<Folder>,
        name: &CStr,
        node: &Node,
        trees: &Trees,
    ) -> Result<Rc<Folder>> {
        let mut entry = self.describe(Kind::Directory, above.path(name), &node.stat);
        entry.name.push(b'/');
        entry.xattrs = attributes(node, name, trees)?;
        Ok(Rc::new(Folder { entry, above: Some(Rc::clone(above)), is_written: Cell::new(false) }))
    }

    /// Writes a directory and those above it, if they are not there yet.
    pub(super) fn write_folder(&mut self, folder: &Folder) -> Result<()> {
        let mut missing = Vec::new();
        let mut next = Some(folder);
        while let Some(folder) = next.filter(|folder| !folder.is_written.replace(true)) {
            missing.push(folder);
            next = folder.above.as_deref();
        }
        missing.into_iter().rev().try_for_each(|folder| self.archive.start(&folder.entry))
    }

    /// Says that a name is gone.
    pub(super) fn remove(&mut self, folder: &Folder, name: &CStr) -> Result<()> {
        self.write_folder(folder)?;
        let mut path = folder.entry.name.clone();
        path.extend_from_slice(b".wh.");
        path.extend_from_slice(name.to_bytes());
        // Whatever the latest time: it is no file's.
        self.archive.start(&bare(Kind::File, path))
    }

    /// Writes what is new or changed under a name, and is no directory.
    pub(super) fn add(
        &mut self,
        folder: &Rc<Folder>,
        name: &CStr,
        node: &Node,
        trees: &Trees,
    ) -> Result<(), Fault> {
        if name.to_bytes().starts_with(b".wh.") {
            let path = folder.path(name);
            tracing::warn!(file = %String::from_utf8_lossy(&path), "no layer can hold this name");
            return Ok(());
        }
        let Some(kind) = kind(node.kind()) else { return Ok(()) };
        let mut entry = self.describe(kind, folder.path(name), &node.stat);
        entry.xattrs = attributes(node, name, trees)?;
        let is_linked = node.stat.st_nlink > 1;
        if let Some(first) = self.written.get(&node.identity()).filter(|_| is_linked) {
            link_to(&mut entry, first.clone());
            self.write_folder(folder)?;
            return Ok(self.archive.start(&entry)?);
        }
        match kind {
            Kind::File => {
                let file = trees.open_file(node, name)?;
                let stat =
                    rustix::fs::fstat(&file).map_err(|error| failed("look at", name, error))?;
                entry.size = u64::try_from(stat.st_size).unwrap_or(0);
                self.write_folder(folder)?;
                self.archive.start(&entry)?;
                self.copy(&file, name)?;
            }
            Kind::Symlink => {
                entry.link = rustix::fs::readlinkat(node.place(trees), name, Vec::new())
                    .map_err(|error| failed("read link", name, error))?
                    .into_bytes();
                self.write_folder(folder)?;
                self.archive.start(&entry)?;
            }
            _ => {
                self.write_folder(folder)?;
                self.archive.start(&entry)?;
            }
        }
        if is_linked {
            self.follow(entry, node.identity())?;
        }
        Ok(())
    }

    /// Takes note of a name that is as it was, and may be one of several of a file that is not.
    pub(super) fn unchanged(
        &mut self,
        folder: &Rc<Folder>,
        name: &CStr,
        node: &Node,
        trees: &Trees,
    ) -> Result<(), Fault> {
        if node.stat.st_nlink < 2 {
            return Ok(());
        }
        if self.written.contains_key(&node.identity()) {
            return self.add(folder, name, node, trees);
        }
        let name = Name { folder: Rc::clone(folder), name: name.to_bytes().to_vec() };
        self.waiting.entry(node.identity()).or_default().push(name);
        Ok(())
    }

    /// Ends the layer.
    pub(super) fn finish(self) -> Result<O> {
        self.archive.finish()
    }

    /// Writes the names that waited for a file that was now written.
    fn follow(&mut self, mut entry: Entry, identity: (u64, u64)) -> Result<()> {
        let first = entry.name.clone();
        self.written.insert(identity, first.clone());
        let waiting = self.waiting.remove(&identity).unwrap_or_default();
        if waiting.is_empty() {
            return Ok(());
        }
        link_to(&mut entry, first);
        for Name { folder, name } in waiting {
            entry.name = [&folder.entry.name[..], &name].concat();
            self.write_folder(&folder)?;
            self.archive.start(&entry)?;
        }
        Ok(())
    }

    fn copy(&mut self, file: &OwnedFd, name: &CStr) -> Result<()> {
        loop {
            let room = self.archive.room()?;
            if room.is_empty() {
                return Ok(());
            }
            match rustix::io::read(file.as_fd(), room) {
                Ok(0) => return Err(changed(name)),
                Ok(count) => self.archive.filled(count)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed("read", name, error)),
            }
        }
    }

    fn describe(&self, kind: Kind, name: Vec<u8>, stat: &Stat) -> Entry {
        let seconds = self.latest.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest));
        let mut entry = bare(kind, name);
        entry.mode = stat.st_mode & 0o7777;
        (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
        entry.modified.seconds = seconds;
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        }
        entry
    }
}

fn attributes(node: &Node, name: &CStr, trees: &Trees) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let capability = xattr::get(node.place(trees), name, CAPABILITY)
        .map_err(|error| failed_io("read attributes of", name, &error))?;
    let some = capability.filter(|value| !value.is_empty());
    Ok(some.map(|value| (CAPABILITY.to_bytes().to_vec(), value)).into_iter().collect())
}

/// Makes an entry a hard link.
fn link_to(entry: &mut Entry, first: Vec<u8>) {
    entry.kind = Kind::HardLink;
    entry.link = first;
    entry.size = 0;
    entry.device = (0, 0);
}

fn bare(kind: Kind, name: Vec<u8>) -> Entry {
    Entry {
        kind,
        name,
        link: Vec::new(),
        mode: 0,
        uid: 0,
        gid: 0,
        modified: Time::default(),
        accessed: None,
        device: (0, 0),
        size: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

fn kind(kind: FileType) -> Option<Kind> {
    Some(match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        _ => return None,
    })
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // Rounded down, as all times here.
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}
