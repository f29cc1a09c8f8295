//! What to mount: data that travels from a snapshotter to whoever needs the files.

/// One mount, in the form that snapshotters return and clients perform.
///
/// Mounts are performed in order; the last covers the target. `options` are those of mount(8):
/// flags (`ro`, `rbind`, …) and file-system data (`lowerdir=…`) mixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The file system type, or `bind`.
    pub kind: String,
    /// The device or directory.
    pub source: String,
    /// A path below the caller's target, mostly empty.
    pub target: String,
    /// Options in order.
    pub options: Vec<String>,
}

impl Mount {
    /// Returns the value of an option `key=value`.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// Says whether the mount cannot be written to.
    pub fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}
