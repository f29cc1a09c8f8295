//! Making mounts and undoing them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
};
use stowd_core::mount::Mount;
use stowd_sys::loop_device::{Access, Binding, Io, LoopDevice};

use crate::error::{MountError, Result};
use crate::options::{Options, PER_MOUNT};
use crate::overlay;

/// The kernel takes one page of options, the closing zero included.
const PAGE: usize = 4096;

/// Performs one mount at `target`, or below it where the mount says so.
///
/// # Errors
/// When the options are wrong or the kernel refuses; then nothing is left mounted.
pub fn mount(mount: &Mount, target: &Path) -> Result<()> {
    let options = Options::parse(&mount.options)?;
    if mount.kind.contains('/')
        || mount.kind.starts_with("fuse.")
        || mount.kind.starts_with("fuse3.")
    {
        return Err(MountError::Kind { kind: mount.kind.clone() });
    }
    let place = Place::find(mount, target)?;
    let target = place.path();
    let device = if options.loop_device { Some(bind_loop(mount, &options)?) } else { None };
    let source = device.as_ref().map_or(Path::new(&mount.source), LoopDevice::path);
    if options.remount {
        let data = c_string(&options.data.join(","))?;
        return rustix::mount::mount_remount(target, options.flags, data)
            .map_err(|error| failed(mount, target, &options.data, error.into()));
    }
    make(mount, source, target, &options)?;
    let changed = change(target, &options);
    if changed.is_err() {
        // The caller is told that there is no mount; the first error is the one that matters.
        let _ = rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    changed
}

/// Performs mounts in order.
///
/// # Errors
/// As [`mount`]; those performed before the one that failed are undone.
pub fn mount_all(mounts: &[Mount], target: &Path) -> Result<()> {
    for (count, one) in mounts.iter().enumerate() {
        if let Err(error) = mount(one, target) {
            // The first error is the one that matters.
            let _ = unmount_mounts(mounts.get(..count).unwrap_or_default(), target);
            return Err(error);
        }
    }
    Ok(())
}

/// Undoes one mount. A target that is none, or is not there, is left alone.
///
/// A mount that is in use goes out of sight now and ends with its last user.
///
/// # Errors
/// When the kernel refuses. Says whether there was a mount.
pub fn unmount(target: &Path) -> Result<bool> {
    let mut result = rustix::mount::unmount(target, UnmountFlags::NOFOLLOW);
    if result == Err(Errno::BUSY) {
        result = rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    }
    match result {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(MountError::Unmount { target: target.to_owned(), error: error.into() }),
    }
}

/// Undoes all mounts that lie on each other at `target`.
///
/// # Errors
/// As [`unmount`].
pub fn unmount_all(target: &Path) -> Result<()> {
    if target.as_os_str().is_empty() {
        return Ok(());
    }
    while unmount(target)? {}
    Ok(())
}

/// Undoes what [`mount_all`] did with the same mounts, last first.
///
/// # Errors
/// As [`unmount`], for the first that fails; the others are undone all the same.
pub fn unmount_mounts(mounts: &[Mount], target: &Path) -> Result<()> {
    let mut result = Ok(());
    for one in mounts.iter().rev().filter(|one| !one.target.is_empty()) {
        match Place::find(one, target) {
            Ok(place) => result = result.and(unmount_all(&place.real_path())),
            // The mount that it was in is gone.
            Err(MountError::Path { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.and(unmount_all(target))
}

/// Where a mount goes: the caller's target, or a directory below it that is held open.
enum Place {
    Target(PathBuf),
    Below { path: PathBuf, _dir: OwnedFd },
}

impl Place {
    /// Finds the place without ever leaving `target`, whatever symbolic links are below it.
    fn find(mount: &Mount, target: &Path) -> Result<Self> {
        if mount.target.is_empty() {
            return Ok(Self::Target(target.to_owned()));
        }
        let failed = |error: Errno| MountError::Path {
            act: "open mount target",
            path: target.join(mount.target.trim_start_matches('/')),
            error: error.into(),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, target, flags | OFlags::DIRECTORY, Mode::empty())
            .map_err(failed)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let dir = rustix::fs::openat2(&root, mount.target.as_str(), flags, Mode::empty(), resolve)
            .map_err(failed)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        Ok(Self::Below { path, _dir: dir })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Target(path) | Self::Below { path, .. } => path,
        }
    }

    /// The path itself, where a link to it will not do.
    fn real_path(&self) -> PathBuf {
        match self {
            Self::Target(path) => path.clone(),
            Self::Below { path, .. } => std::fs::read_link(path).unwrap_or_else(|_| path.clone()),
        }
    }
}

fn bind_loop(mount: &Mount, options: &Options) -> Result<LoopDevice> {
    let binding = Binding {
        access: if options.flags.contains(MountFlags::RDONLY) {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        },
        io: if options.direct_io { Io::Direct } else { Io::Buffered },
    };
    LoopDevice::bind(Path::new(&mount.source), binding).map_err(|error| MountError::Path {
        act: "bind a loop device to",
        path: PathBuf::from(&mount.source),
        error,
    })
}

fn make(mount: &Mount, source: &Path, target: &Path, options: &Options) -> Result<()> {
    let data = options.data.join(",");
    if data.len() < PAGE {
        let data = c_string(&data)?;
        return rustix::mount::mount(source, target, mount.kind.as_str(), options.flags, &*data)
            .map_err(|error| failed(mount, target, &options.data, error.into()));
    }
    if mount.kind != "overlay" {
        return Err(failed(mount, target, &options.data, Errno::TOOBIG.into()));
    }
    make_long_overlay(mount, target, options)
}

/// Mounts an overlay of so many directories that their names do not fit into a page.
///
/// The names become relative to the directory that all of them are in; where that is not enough, each
/// is given to the kernel on its own (Linux 6.7).
fn make_long_overlay(mount: &Mount, target: &Path, options: &Options) -> Result<()> {
    let lower: Vec<String> = options
        .data
        .iter()
        .filter_map(|o| o.strip_prefix("lowerdir="))
        .flat_map(overlay::split)
        .collect();
    let (common, relative) = common_directory(&lower);
    let rest: Vec<&str> = options
        .data
        .iter()
        .map(String::as_str)
        .filter(|option| !option.starts_with("lowerdir="))
        .collect();
    let target_dir = rustix::fs::openat(
        CWD,
        target,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| MountError::Path {
        act: "open mount target",
        path: target.to_owned(),
        error: error.into(),
    })?;
    let result = stowd_sys::fs_context::run("mount", || -> io::Result<()> {
        rustix::process::chdir(&*common)?;
        let list = format!("lowerdir={}", overlay::join(relative.iter().copied()));
        let data = rest.iter().copied().chain([list.as_str()]).collect::<Vec<_>>().join(",");
        if data.len() < PAGE {
            let at = format!("/proc/self/fd/{}", target_dir.as_raw_fd());
            let data = CString::new(data).map_err(|_| io::ErrorKind::InvalidInput)?;
            return Ok(rustix::mount::mount("overlay", at, "overlay", options.flags, &*data)?);
        }
        one_by_one(&relative, &rest, options.flags, &target_dir)
    });
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(failed(mount, target, &options.data, error)),
    }
}

fn one_by_one(
    lower: &[&str],
    rest: &[&str],
    flags: MountFlags,
    target: &OwnedFd,
) -> io::Result<()> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay")?;
    for directory in lower {
        rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir+", *directory)?;
    }
    for option in rest {
        match option.split_once('=') {
            Some((key, value)) => {
                rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
            }
            None => rustix::mount::fsconfig_set_flag(context.as_fd(), *option)?,
        }
    }
    let attributes = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ];
    let set = attributes
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(MountAttrFlags::empty(), |set, (_, attribute)| set | attribute);
    rustix::mount::fsconfig_create(context.as_fd())?;
    let made = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, set)?;
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(made.as_fd(), "", target.as_fd(), "", how)?)
}

/// Finds the directory that all are in, and their names in it.
fn common_directory(directories: &[String]) -> (String, Vec<&str>) {
    let Some(first) = directories.first() else { return ("/".to_owned(), Vec::new()) };
    let mut end = first.rfind('/').map_or(0, |at| at + 1);
    while end > 1
        && !directories.iter().all(|one| one.starts_with(&first[..end]) && one.len() > end)
    {
        end = first[..end - 1].rfind('/').map_or(0, |at| at + 1);
    }
    if end <= 1 || !directories.iter().all(|one| one.starts_with(&first[..end])) {
        return ("/".to_owned(), directories.iter().map(String::as_str).collect());
    }
    (first[..end].to_owned(), directories.iter().map(|one| &one[end..]).collect())
}

/// Applies what the kernel does not take together with a new mount.
fn change(target: &Path, options: &Options) -> Result<()> {
    if !options.propagation.is_empty() {
        rustix::mount::mount_change(target, options.propagation).map_err(|error| {
            MountError::Change {
                act: "the propagation",
                target: target.to_owned(),
                error: error.into(),
            }
        })?;
    }
    let flags = options.flags & PER_MOUNT;
    if !options.is_bind() || flags.is_empty() {
        return Ok(());
    }
    let remount = |flags| rustix::mount::mount_remount(target, MountFlags::BIND | flags, c"");
    let mut result = remount(flags);
    if result == Err(Errno::PERM) {
        // In a user namespace, flags that came from outside are locked: they have to be repeated.
        result = inherited(target).and_then(|locked| remount(flags | locked));
    }
    result.map_err(|error| MountError::Change {
        act: "the flags",
        target: target.to_owned(),
        error: error.into(),
    })
}

fn inherited(target: &Path) -> rustix::io::Result<MountFlags> {
    let has = rustix::fs::statvfs(target)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    Ok(pairs
        .into_iter()
        .filter(|(flag, _)| has.contains(*flag))
        .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag))
}

fn failed(mount: &Mount, target: &Path, data: &[String], error: io::Error) -> MountError {
    let mut data = data.join(",");
    if data.len() > 512 {
        let mut end = 512;
        while !data.is_char_boundary(end) {
            end -= 1;
        }
        data.truncate(end);
        data.push('…');
    }
    MountError::Mount {
        from: mount.source.clone(),
        kind: mount.kind.clone(),
        target: target.to_owned(),
        data,
        error,
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| MountError::Option { option: text.to_owned(), reason: "contains a zero byte" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_directory_that_all_are_in() {
        let list = ["/r/s/12/fs", "/r/s/1/fs", "/r/s/123/fs"].map(str::to_owned);
        assert_eq!(common_directory(&list), ("/r/s/".into(), vec!["12/fs", "1/fs", "123/fs"]));
        let apart = ["/a/x", "/b/x"].map(str::to_owned);
        assert_eq!(common_directory(&apart), ("/".into(), vec!["/a/x", "/b/x"]));
        let inside = ["/r/s", "/r/s/1"].map(str::to_owned);
        assert_eq!(common_directory(&inside), ("/r/".into(), vec!["s", "s/1"]));
    }
}
