//! Which devices the container has.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::{Device, DeviceRule, Error, Result, Spec};

impl Spec {
    /// Lets the container use the devices that every runtime makes for it.
    pub fn add_default_devices(&mut self) {
        let numbers = [
            (1, Some(3)), // null
            (1, Some(8)), // random
            (1, Some(7)), // full
            (5, Some(0)), // tty
            (1, Some(5)), // zero
            (1, Some(9)), // urandom
            (5, Some(1)), // console
            (136, None),  // pts/*
            (5, Some(2)), // ptmx
        ];
        let rules = numbers.map(|(major, minor)| DeviceRule {
            allow: true,
            kind: "c".into(),
            major: Some(major),
            minor,
            access: "rwm".into(),
        });
        self.resources_mut().devices.extend(rules);
    }

    /// Lets the container use every device.
    pub fn allow_all_devices(&mut self) {
        let rule = DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() };
        self.resources_mut().devices = vec![rule];
    }

    /// Leaves it to the parent cgroup which devices the container may use.
    pub fn inherit_devices(&mut self) {
        self.resources_mut().devices.clear();
    }

    /// Gives the container the device at `path`, or all those below it, with `access` (letters of
    /// `rwm`); at `inside`, or at the same path if that is empty.
    pub fn add_devices(&mut self, path: &Path, inside: &str, access: &str) -> Result<()> {
        let devices = find(path, inside)?;
        self.resources_mut().devices.extend(devices.iter().map(|device| DeviceRule {
            allow: true,
            kind: device.kind.clone(),
            major: Some(device.major),
            minor: Some(device.minor),
            access: access.into(),
        }));
        self.linux_mut().devices.extend(devices);
        Ok(())
    }

    /// Gives the container the nodes of all the host's devices; whether it may use them is another
    /// matter.
    pub fn add_host_devices(&mut self) -> Result<()> {
        let devices = find(Path::new("/dev"), "")?;
        self.linux_mut().devices.extend(devices);
        Ok(())
    }
}

impl Device {
    /// Describes the node at `path`, which is not followed if it is a symbolic link.
    pub fn at(path: &Path) -> Result<Device> {
        let stat = fs::symlink_metadata(path).map_err(Error::io("stat device", path))?;
        let kind = stat.file_type();
        let kind = if kind.is_block_device() {
            "b"
        } else if kind.is_char_device() {
            "c"
        } else if kind.is_fifo() {
            "p"
        } else {
            return Err(Error::NotADevice(path.into()));
        };
        Ok(Device {
            path: path.to_string_lossy().into_owned(),
            kind: kind.into(),
            major: rustix::fs::major(stat.rdev()).into(),
            minor: rustix::fs::minor(stat.rdev()).into(),
            file_mode: Some(stat.mode() & 0o7777),
            uid: Some(stat.uid()),
            gid: Some(stat.gid()),
        })
    }
}

/// Directories of `/dev` that every container has of its own, or that container managers use.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

fn find(path: &Path, inside: &str) -> Result<Vec<Device>> {
    let stat = fs::metadata(path).map_err(Error::io("error stating device path", path))?;
    if stat.is_dir() {
        let mut devices = Vec::new();
        find_below(path, inside, &mut devices)?;
        return Ok(devices);
    }
    let mut device = Device::at(path)?;
    if !inside.is_empty() {
        device.path = inside.into();
    }
    Ok(vec![device])
}

fn find_below(path: &Path, inside: &str, devices: &mut Vec<Device>) -> Result<()> {
    let failed = |error| Error::io("read directory", path)(error);
    let mut entries: Vec<_> =
        fs::read_dir(path).map_err(failed)?.collect::<io::Result<_>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let inside = if inside.is_empty() { String::new() } else { format!("{inside}/{name}") };
        if entry.file_type().map_err(failed)?.is_dir() {
            if !SKIPPED.contains(&&*name) {
                match find_below(&entry.path(), &inside, devices) {
                    Err(error) if hidden(&error) => {}
                    result => result?,
                }
            }
            continue;
        }
        // The container has a console of its own.
        if name == "console" {
            continue;
        }
        match Device::at(&entry.path()) {
            Ok(device) if device.kind == "p" => {}
            Ok(mut device) => {
                if !inside.is_empty() {
                    device.path = inside;
                }
                devices.push(device);
            }
            Err(Error::NotADevice(_)) => {}
            Err(error) if hidden(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Nodes can go while we look, and in a user namespace some are out of reach; what is left is what the
/// container can have.
fn hidden(error: &Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
    matches!(error, Error::Io { source, .. } if kinds.contains(&source.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_device_is_described() {
        let device = Device::at(Path::new("/dev/null")).unwrap();
        assert_eq!((device.kind.as_str(), device.major, device.minor), ("c", 1, 3));
        assert_eq!(device.file_mode, Some(0o666));
        assert!(matches!(Device::at(Path::new("/")), Err(Error::NotADevice(_))));
    }

    #[test]
    fn a_device_comes_with_its_rule() {
        let mut spec = Spec::linux_default("n", "i");
        spec.add_devices(Path::new("/dev/zero"), "/dev/nothing", "rw").unwrap();
        let linux = spec.linux.unwrap();
        assert_eq!(linux.devices[0].path, "/dev/nothing");
        let rule = linux.resources.unwrap().devices.pop().unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(1), Some(5), "rw"));
        let mut spec = Spec::linux_default("n", "i");
        assert!(spec.add_devices(Path::new("/dev/no/such"), "", "rwm").is_err());
    }

    #[test]
    fn host_devices_are_found_without_pseudo_terminals() {
        let mut spec = Spec::linux_default("n", "i");
        spec.add_host_devices().unwrap();
        let paths: Vec<_> = spec.linux.unwrap().devices.into_iter().map(|d| d.path).collect();
        assert!(paths.iter().any(|path| path == "/dev/null"));
        assert!(!paths.iter().any(|path| path.starts_with("/dev/pts/")));
    }
}
