//! Bundles: a task's or sandbox's folder, with its spec, its root file system and how to reach its shim.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use stowd_core::{Error, Namespace, Result};

use crate::Config;
use crate::spec::Spec;

/// What a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A container's task.
    Task,
    /// A sandbox's instance.
    Sandbox,
}

impl Kind {
    /// All there are.
    pub(crate) const ALL: [Self; 2] = [Self::Task, Self::Sandbox];

    /// Returns containerd's name for the folders of such bundles, below root and state.
    fn folder(self) -> &'static str {
        match self {
            Self::Task => "io.containerd.runtime.v2.task",
            Self::Sandbox => "io.containerd.sandbox.controller.v1.shim",
        }
    }

    /// Returns who may look into these folders: others only where root of a container's user
    /// namespace must get through.
    fn mode(self) -> u32 {
        match self {
            Self::Task => 0o711,
            Self::Sandbox => 0o700,
        }
    }
}

/// Where a task's files are.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    /// The bundle, in the state.
    pub(crate) path: PathBuf,
    /// The work folder, in the root; `work` in the bundle leads there.
    work: PathBuf,
}

impl Bundle {
    /// Names a bundle, which need not exist.
    pub(crate) fn new(config: &Config, kind: Kind, namespace: &Namespace, id: &str) -> Self {
        Self {
            path: state(config, kind).join(namespace.as_str()).join(id),
            work: root(config, kind).join(namespace.as_str()).join(id),
        }
    }

    /// Makes the folders and writes the spec. What a task left there that nobody knows any more is
    /// removed first.
    pub(crate) fn make(&self, json: &[u8], spec: &Spec) -> Result<()> {
        let made = (|| {
            if let Err(error) = folder(&self.path, 0o700) {
                if error.kind() != ErrorKind::AlreadyExists {
                    return Err(failed("make", &self.path, &error));
                }
                self.remove()?;
                folder(&self.path, 0o700).map_err(|error| failed("make", &self.path, &error))?;
            }
            if let Some(gid) = spec.remapped_gid() {
                // Root of the container's user namespace must get through to the root file system.
                chown(&self.path, None, Some(gid))
                    .and_then(|()| {
                        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710))
                    })
                    .map_err(|error| failed("give away", &self.path, &error))?;
            }
            self.fill(json)
        })();
        if made.is_err() {
            let _ = self.remove();
        }
        made
    }

    fn fill(&self, json: &[u8]) -> Result<()> {
        let rootfs = self.rootfs();
        DirBuilder::new()
            .mode(0o711)
            .create(&rootfs)
            .map_err(|error| failed("make", &rootfs, &error))?;
        if let Err(error) = folder(&self.work, 0o711) {
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(failed("make", &self.work, &error));
            }
            remove_tree(&self.work)?;
            folder(&self.work, 0o711).map_err(|error| failed("make", &self.work, &error))?;
        }
        let link = self.path.join("work");
        std::os::unix::fs::symlink(&self.work, &link)
            .map_err(|error| failed("make link", &link, &error))?;
        if !json.is_empty() {
            self.write("config.json", json, 0o644)?;
        }
        Ok(())
    }

    /// Returns where the root file system is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Writes a file of the bundle.
    pub(crate) fn write(&self, name: &str, data: &[u8], mode: u32) -> Result<()> {
        let path = self.path.join(name);
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(data))
            .map_err(|error| failed("write", &path, &error))
    }

    /// Reads a small file of the bundle; nothing where there is none or it is empty.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Removes the bundle and the work folder, with the mounts on the root file system. None left
    /// half: they vanish under their names in one step each.
    pub(crate) fn remove(&self) -> Result<()> {
        let rootfs = self.rootfs();
        match fs::remove_dir(&rootfs) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Mounted, or full of somebody's files.
            Err(_) => {
                unmount_below(&rootfs)?;
                // Whatever is in it now is no mount and was not put there by us: not ours to delete.
                fs::remove_dir(&rootfs).map_err(|error| failed("remove", &rootfs, &error))?;
            }
        }
        remove_tree(&self.path)?;
        match fs::remove_dir(&self.work) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(_) => remove_tree(&self.work),
        }
    }
}

/// Returns the folder with a folder of bundles for each namespace.
pub(crate) fn state(config: &Config, kind: Kind) -> PathBuf {
    config.state.join(kind.folder())
}

/// Returns the folder with a folder of work folders for each namespace.
pub(crate) fn root(config: &Config, kind: Kind) -> PathBuf {
    config.root.join(kind.folder())
}

/// Makes the folders that everything else is in.
pub(crate) fn prepare(config: &Config) -> Result<()> {
    for kind in Kind::ALL {
        for path in [state(config, kind), root(config, kind)] {
            DirBuilder::new()
                .recursive(true)
                .mode(kind.mode())
                .create(&path)
                .map_err(|error| failed("make", &path, &error))?;
        }
    }
    Ok(())
}

/// Lists the folders in a folder, without hidden ones; none if it is not there.
pub(crate) fn folders(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// Removes what removals left that were cut off.
pub(crate) fn sweep(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(b".") {
            let _ = remove_now(&entry.path());
        }
    }
}

/// Removes a folder with all that is in it: first out of sight, then for good.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::internal(format_args!("{} has no name", path.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let hidden = parent.join(hidden);
    let mut moved = fs::rename(path, &hidden);
    if moved.as_ref().is_err_and(|error| error.kind() == ErrorKind::DirectoryNotEmpty) {
        remove_now(&hidden)?;
        moved = fs::rename(path, &hidden);
    }
    match moved {
        Ok(()) => remove_now(&hidden),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("move away", path, &error)),
    }
}

fn remove_now(path: &Path) -> Result<()> {
    let removed = (|| {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(ErrorKind::InvalidInput));
        };
        let parent = File::open(parent)?;
        stowd_sys::tree::remove(parent.as_fd(), &CString::new(name.as_bytes())?)
    })();
    removed.map_err(|error| failed("remove", path, &error))
}

/// Takes off everything that is mounted at a path or below it.
fn unmount_below(path: &Path) -> Result<()> {
    let table = fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::io("read the table of mounts", &error))?;
    let points: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
        .filter(|point| point.starts_with(path))
        .collect();
    for point in points.iter().rev() {
        stowd_mount::unmount(point)
            .map_err(|error| Error::unknown(error).context("unmount the root file system"))?;
    }
    Ok(())
}

/// Undoes the octal escapes of the kernel's table.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&plain))
}

/// Makes a folder; its parent, too, where that is the first task of its namespace.
fn folder(path: &Path, mode: u32) -> io::Result<()> {
    let made = DirBuilder::new().mode(mode).create(path);
    if !made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return made;
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
    }
    DirBuilder::new().mode(mode).create(path)
}

fn failed(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format_args!("{act} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(folder: &Path) -> Bundle {
        Bundle { path: folder.join("state/ns/id"), work: folder.join("root/ns/id") }
    }

    #[test]
    fn is_made_and_removed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        bundle.make(b"{}", &Spec::default()).unwrap();
        assert_eq!(mode(&bundle.path), 0o700);
        assert_eq!(mode(bundle.path.parent().unwrap()), 0o711);
        assert_eq!((mode(&bundle.rootfs()), mode(&bundle.work)), (0o711, 0o711));
        assert_eq!(fs::read_link(bundle.path.join("work")).unwrap(), bundle.work);
        assert_eq!(fs::read(bundle.path.join("config.json")).unwrap(), b"{}");
        // What somebody left there gives way.
        fs::write(bundle.path.join("left"), "over").unwrap();
        fs::write(bundle.work.join("left"), "over").unwrap();
        bundle.make(b"{}", &Spec::default()).unwrap();
        assert!(bundle.read("left").is_none());
        bundle.remove().unwrap();
        assert!(!bundle.path.exists() && !bundle.work.exists());
        assert_eq!(fs::read_dir(bundle.path.parent().unwrap()).unwrap().count(), 0);
        bundle.remove().unwrap();
    }

    #[test]
    fn files_in_the_root_file_system_are_not_ours_to_delete() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        bundle.make(b"", &Spec::default()).unwrap();
        fs::write(bundle.rootfs().join("precious"), "").unwrap();
        assert!(bundle.remove().is_err());
        assert!(bundle.rootfs().join("precious").exists());
    }

    #[test]
    fn the_remapped_group_may_pass() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let json = br#"{"linux":{"gidMappings":[{"containerID":0,"hostID":4321,"size":1}]}}"#;
        bundle.make(json, &Spec::read(json).unwrap()).unwrap();
        let made = fs::metadata(&bundle.path).unwrap();
        assert_eq!((made.gid(), made.mode() & 0o777), (4321, 0o710));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(br"/a\040b\134"), Path::new(r"/a b\"));
        assert_eq!(unescaped(br"/a\04"), Path::new(r"/a\04"));
    }
}
