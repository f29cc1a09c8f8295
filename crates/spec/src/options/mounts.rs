//! What is mounted.

use crate::{Error, Mount, Result, Root, Spec};

impl Spec {
    /// Adds mounts after those that are there.
    pub fn add_mounts(&mut self, mounts: impl IntoIterator<Item = Mount>) {
        self.mounts.extend(mounts);
    }

    /// Adds mounts in place of those with the same destinations.
    pub fn replace_mounts(&mut self, mounts: Vec<Mount>) {
        let destinations: Vec<&str> =
            mounts.iter().map(|mount| mount.destination.as_str()).collect();
        self.remove_mounts(&destinations);
        self.mounts.extend(mounts);
    }

    /// Removes the mounts at these destinations.
    pub fn remove_mounts(&mut self, destinations: &[&str]) {
        self.mounts.retain(|mount| {
            let cleaned = clean(&mount.destination);
            !destinations.contains(&cleaned.as_str())
        });
    }

    /// Shows the host's file at `path`, such as `/etc/hosts`, in the container, read-only.
    pub fn bind_host_file(&mut self, path: &str) {
        self.mounts.push(Mount {
            destination: path.into(),
            kind: "bind".into(),
            source: path.into(),
            options: vec!["rbind".into(), "ro".into()],
            ..Mount::default()
        });
    }

    /// Sets the size of `/dev/shm` in kilobytes.
    pub fn set_shm_size(&mut self, kilobytes: i64) -> Result<()> {
        let is_shm = |mount: &&mut Mount| {
            clean(&mount.destination) == "/dev/shm"
                && mount.source == "shm"
                && mount.kind == "tmpfs"
        };
        let mount = self.mounts.iter_mut().find(is_shm).ok_or(Error::NoShmMount)?;
        mount.options.retain(|option| !option.starts_with("size="));
        mount.options.push(format!("size={kilobytes}k"));
        Ok(())
    }

    /// Makes the mounts of this type (`sysfs`, `cgroup`) writable.
    pub fn make_writable(&mut self, kind: &str) {
        for mount in self.mounts.iter_mut().filter(|mount| mount.kind == kind) {
            for option in mount.options.iter_mut().filter(|option| *option == "ro") {
                *option = "rw".into();
            }
        }
    }

    /// Sets the directory of the root file system.
    pub fn set_root_path(&mut self, path: impl Into<String>) {
        self.root_mut().path = path.into();
    }

    /// Forbids writing to the root file system.
    pub fn make_root_readonly(&mut self) {
        self.root_mut().readonly = true;
    }

    /// Sets how mounts pass between the root and the host: `private`, `slave`, `shared`, ...
    pub fn set_root_propagation(&mut self, propagation: impl Into<String>) {
        self.linux_mut().rootfs_propagation = propagation.into();
    }

    fn root_mut(&mut self) -> &mut Root {
        self.root.get_or_insert_default()
    }
}

impl Mount {
    /// Understands `type=bind,src=/a,dst=/b,options=rbind:ro`, one line of CSV.
    pub fn parse_flag(text: &str) -> Result<Mount> {
        let invalid = |text: String| Error::InvalidOption(text);
        let mut mount = Mount::default();
        for field in csv_fields(text)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| invalid("invalid mount specification: expected key=val".into()))?;
            match key {
                "type" => mount.kind = value.into(),
                "source" | "src" => mount.source = value.into(),
                "destination" | "dst" => mount.destination = value.into(),
                "options" => mount.options = value.split(':').map(str::to_owned).collect(),
                _ => return Err(invalid(format!("mount option {key:?} not supported"))),
            }
        }
        Ok(mount)
    }
}

/// Splits a line of CSV; a field in double quotes may have commas, and quotes when doubled.
fn csv_fields(line: &str) -> Result<Vec<String>> {
    let invalid = || Error::InvalidOption(format!("invalid mount specification: {line:?}"));
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let end = rest.find('"').ok_or_else(invalid)?;
                field.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                match rest.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err(invalid());
            }
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        if rest.is_empty() {
            return Ok(fields);
        }
        rest = rest.strip_prefix(',').ok_or_else(invalid)?;
    }
}

/// The path without doubled or trailing slashes, `.` and `..`.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') { format!("/{joined}") } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_csv() {
        let mount =
            Mount::parse_flag("type=bind,src=/a=b,\"dst=/x,\"\"y\",options=rbind:ro").unwrap();
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("bind", "/a=b"));
        assert_eq!(mount.destination, "/x,\"y");
        assert_eq!(mount.options, ["rbind", "ro"]);
        for (flag, text) in [
            ("type", "invalid mount specification: expected key=val"),
            ("size=1", "mount option \"size\" not supported"),
        ] {
            assert_eq!(Mount::parse_flag(flag).unwrap_err().to_string(), text);
        }
        for flag in ["\"type=a", "ty\"pe=a", "\"type=a\"b"] {
            assert!(Mount::parse_flag(flag).is_err(), "{flag}");
        }
    }

    #[test]
    fn mounts_are_replaced_by_destination() {
        let mut spec = Spec::linux_default("n", "i");
        let before = spec.mounts.len();
        spec.replace_mounts(vec![Mount::parse_flag("type=tmpfs,dst=/run").unwrap()]);
        assert_eq!(spec.mounts.len(), before);
        assert_eq!(spec.mounts[before - 1].destination, "/run");
        spec.mounts[0].destination = "//proc/./".into();
        spec.remove_mounts(&["/proc"]);
        assert_eq!(spec.mounts.len(), before - 1);
    }

    #[test]
    fn shared_memory_has_one_size() {
        let mut spec = Spec::linux_default("n", "i");
        spec.set_shm_size(128).unwrap();
        let shm = spec.mounts.iter().find(|mount| mount.source == "shm").unwrap();
        assert_eq!(shm.options, ["nosuid", "noexec", "nodev", "mode=1777", "size=128k"]);
        spec.remove_mounts(&["/dev/shm"]);
        assert!(matches!(spec.set_shm_size(1), Err(Error::NoShmMount)));
    }
}
