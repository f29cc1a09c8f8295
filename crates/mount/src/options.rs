//! Options as mount(8) has them: flags for the kernel and data for the file system, mixed.

use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::error::{MountError, Result};

/// What a list of options says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What every file system knows.
    pub flags: MountFlags,
    /// How mounts made later below it spread, where the options say.
    pub propagation: MountPropagationFlags,
    /// An existing mount is changed.
    pub remount: bool,
    /// The source is a file that needs a loop device.
    pub loop_device: bool,
    /// That device goes past the page cache.
    pub direct_io: bool,
    /// What only the file system knows, in order.
    pub data: Vec<String>,
}

/// Flags that the kernel applies to a bind mount only when it is changed afterwards.
pub(crate) const PER_MOUNT: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME)
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICTATIME)
    .union(MountFlags::NOSYMFOLLOW);

impl Options {
    /// Sorts options into flags and data. Of options that contradict each other the last counts.
    ///
    /// # Errors
    /// For options that are not the kernel's and that nobody took out before (`X-containerd.…`), and
    /// for id mappings.
    pub fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self {
            flags: MountFlags::empty(),
            propagation: MountPropagationFlags::empty(),
            remount: false,
            loop_device: false,
            direct_io: false,
            data: Vec::new(),
        };
        for option in options {
            parsed.add(option)?;
        }
        if !parsed.loop_device && parsed.direct_io {
            // Without a loop device it is some file system's own option.
            parsed.direct_io = false;
            parsed.data.push("direct-io".to_owned());
        }
        Ok(parsed)
    }

    /// Says whether the mount shows another place of the file tree.
    pub fn is_bind(&self) -> bool {
        self.flags.contains(MountFlags::BIND)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        if option.starts_with("X-containerd.") {
            return Err(MountError::Option {
                option: option.to_owned(),
                reason: "internal mount option was not consumed by the mount manager",
            });
        }
        if option.starts_with("uidmap=") || option.starts_with("gidmap=") {
            return Err(MountError::Option {
                option: option.to_owned(),
                reason: "mounts with mapped ids are not supported here",
            });
        }
        if let Some(change) = flag(option) {
            match change {
                Change::Set(flags) => self.flags.insert(flags),
                Change::Clear(flags) => self.flags.remove(flags),
                Change::Nothing => {}
            }
        } else if let Some(propagation) = propagation(option) {
            self.propagation = propagation;
        } else {
            match option {
                "remount" => self.remount = true,
                "loop" => self.loop_device = true,
                "direct-io" => self.direct_io = true,
                _ => self.data.push(option.to_owned()),
            }
        }
        Ok(())
    }
}

enum Change {
    Set(MountFlags),
    Clear(MountFlags),
    Nothing,
}

fn flag(option: &str) -> Option<Change> {
    use Change::{Clear, Nothing, Set};
    use MountFlags as Flags;
    Some(match option {
        "async" => Clear(Flags::SYNCHRONOUS),
        "atime" => Clear(Flags::NOATIME),
        "bind" => Set(Flags::BIND),
        "defaults" => Nothing,
        "dev" => Clear(Flags::NODEV),
        "diratime" => Clear(Flags::NODIRATIME),
        "dirsync" => Set(Flags::DIRSYNC),
        "exec" => Clear(Flags::NOEXEC),
        "lazytime" => Set(Flags::LAZYTIME),
        "mand" => Set(Flags::PERMIT_MANDATORY_FILE_LOCKING),
        "noatime" => Set(Flags::NOATIME),
        "nodev" => Set(Flags::NODEV),
        "nodiratime" => Set(Flags::NODIRATIME),
        "noexec" => Set(Flags::NOEXEC),
        "nolazytime" => Clear(Flags::LAZYTIME),
        "nomand" => Clear(Flags::PERMIT_MANDATORY_FILE_LOCKING),
        "norelatime" => Clear(Flags::RELATIME),
        "nostrictatime" => Clear(Flags::STRICTATIME),
        "nosuid" => Set(Flags::NOSUID),
        "nosymfollow" => Set(Flags::NOSYMFOLLOW),
        "rbind" => Set(Flags::BIND.union(Flags::REC)),
        "relatime" => Set(Flags::RELATIME),
        "ro" => Set(Flags::RDONLY),
        "rw" => Clear(Flags::RDONLY),
        "silent" => Set(Flags::SILENT),
        "strictatime" => Set(Flags::STRICTATIME),
        "suid" => Clear(Flags::NOSUID),
        "symfollow" => Clear(Flags::NOSYMFOLLOW),
        "sync" => Set(Flags::SYNCHRONOUS),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    use MountPropagationFlags as Flags;
    Some(match option {
        "private" => Flags::PRIVATE,
        "rprivate" => Flags::PRIVATE | Flags::REC,
        "shared" => Flags::SHARED,
        "rshared" => Flags::SHARED | Flags::REC,
        "slave" => Flags::DOWNSTREAM,
        "rslave" => Flags::DOWNSTREAM | Flags::REC,
        "unbindable" => Flags::UNBINDABLE,
        "runbindable" => Flags::UNBINDABLE | Flags::REC,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        let owned: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Options::parse(&owned).unwrap()
    }

    #[test]
    fn sorts_flags_from_data() {
        let options = parse(&["nosuid", "size=64k", "nodev", "mode=755"]);
        assert_eq!(options.flags, MountFlags::NOSUID | MountFlags::NODEV);
        assert_eq!(options.data, ["size=64k", "mode=755"]);
    }

    #[test]
    fn the_last_of_two_that_contradict_counts() {
        assert_eq!(parse(&["ro", "rw"]).flags, MountFlags::empty());
        assert_eq!(parse(&["rw", "ro"]).flags, MountFlags::RDONLY);
    }

    #[test]
    fn knows_binds_and_propagation() {
        let options = parse(&["rbind", "ro", "rslave"]);
        assert!(options.is_bind() && options.flags.contains(MountFlags::REC));
        assert_eq!(
            options.propagation,
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC
        );
    }

    #[test]
    fn direct_io_belongs_to_the_loop_device_if_there_is_one() {
        assert!(parse(&["direct-io", "loop"]).direct_io);
        assert_eq!(parse(&["direct-io"]).data, ["direct-io"]);
    }

    #[test]
    fn refuses_what_the_mount_manager_should_have_taken() {
        let options = ["X-containerd.mkdir.path=/x".to_owned()];
        let error = stowd_core::Error::from(Options::parse(&options).unwrap_err());
        assert_eq!(error.kind(), stowd_core::ErrorKind::InvalidArgument);
        let mapped = Options::parse(&["uidmap=0:1000:10".to_owned()]).unwrap_err();
        assert!(mapped.to_string().contains("uidmap"));
    }
}
