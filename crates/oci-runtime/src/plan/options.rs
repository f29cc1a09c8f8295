//! Mount options in words, understood.

use stowd_sys::mount_attr::{
    ATTR_ATIME, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID,
    ATTR_NOSYMFOLLOW, ATTR_RDONLY, ATTR_STRICTATIME, MountAttr, Reach,
};

pub(crate) const MS_RDONLY: u32 = 1;
pub(crate) const MS_NOSUID: u32 = 1 << 1;
pub(crate) const MS_NODEV: u32 = 1 << 2;
pub(crate) const MS_NOEXEC: u32 = 1 << 3;
const MS_SYNCHRONOUS: u32 = 1 << 4;
pub(crate) const MS_REMOUNT: u32 = 1 << 5;
const MS_MANDLOCK: u32 = 1 << 6;
const MS_DIRSYNC: u32 = 1 << 7;
const MS_NOSYMFOLLOW: u32 = 1 << 8;
pub(crate) const MS_NOATIME: u32 = 1 << 10;
const MS_NODIRATIME: u32 = 1 << 11;
pub(crate) const MS_BIND: u32 = 1 << 12;
pub(crate) const MS_REC: u32 = 1 << 14;
const MS_SILENT: u32 = 1 << 15;
pub(crate) const MS_UNBINDABLE: u32 = 1 << 17;
pub(crate) const MS_PRIVATE: u32 = 1 << 18;
pub(crate) const MS_SLAVE: u32 = 1 << 19;
pub(crate) const MS_SHARED: u32 = 1 << 20;
const MS_RELATIME: u32 = 1 << 21;
const MS_I_VERSION: u32 = 1 << 23;
const MS_STRICTATIME: u32 = 1 << 24;
const MS_LAZYTIME: u32 = 1 << 25;
const ATIME_FLAGS: u32 = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME;

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `MS_*` that were asked for.
    pub(crate) flags: u32,
    /// `MS_*` that were asked not to be.
    pub(crate) cleared: u32,
    /// Propagation changes in order, each `MS_*` with or without `MS_REC`.
    pub(crate) propagation: Vec<u32>,
    /// Attributes for all mounts of the tree (`rro` and so on).
    pub(crate) recursive: MountAttr,
    /// Whether to fill a tmpfs with what it covers.
    pub(crate) copy_up: bool,
    /// Whether ids are to be mapped, and how far down.
    pub(crate) idmap: Option<Reach>,
    /// What only the file system understands, joined by commas.
    pub(crate) data: String,
}

impl MountOptions {
    /// Reads options in their order; later ones win over earlier ones.
    pub(crate) fn parse(options: &[String]) -> MountOptions {
        let mut parsed = MountOptions::default();
        for option in options {
            let option = option.as_str();
            if let Some(&(_, flag, effect)) = FLAGS.iter().find(|(name, ..)| *name == option) {
                match effect {
                    Effect::Set => {
                        parsed.flags |= flag;
                        parsed.cleared &= !flag;
                    }
                    Effect::Clear => {
                        parsed.flags &= !flag;
                        parsed.cleared |= flag;
                    }
                }
            } else if let Some((_, change)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
                parsed.propagation.push(*change);
            } else if let Some(&(_, attr, effect)) =
                RECURSIVE.iter().find(|(name, ..)| *name == option)
            {
                parsed.recurse(attr, effect);
            } else {
                match option {
                    // What "defaults" stands for is what no option at all means.
                    "defaults" => {}
                    "tmpcopyup" => parsed.copy_up = true,
                    "idmap" => parsed.idmap = Some(Reach::One),
                    "ridmap" => parsed.idmap = Some(Reach::Tree),
                    data => {
                        if !parsed.data.is_empty() {
                            parsed.data.push(',');
                        }
                        parsed.data.push_str(data);
                    }
                }
            }
        }
        parsed
    }

    /// Whether it is a bind mount.
    pub(crate) fn is_bind(&self) -> bool {
        self.flags & MS_BIND != 0
    }

    /// What to change about a fresh bind mount so that it has just the flags asked for, as
    /// `mount -o remount,bind` would leave it. `None` if no flag was named: it keeps its source's.
    pub(crate) fn bind_attr(&self) -> Option<MountAttr> {
        let asked = self.flags & !(MS_BIND | MS_REC | MS_REMOUNT);
        if asked == 0 && self.cleared == 0 {
            return None;
        }
        let mut attr = self.bind_attr_kept();
        attr.clear |=
            (ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW) & !attr.set;
        Some(attr)
    }

    /// The same but keeping flags of the source that are not spoken of: for where they are locked.
    pub(crate) fn bind_attr_kept(&self) -> MountAttr {
        let mut attr = MountAttr { set: attributes(self.flags), ..MountAttr::default() };
        attr.clear = attributes(self.cleared & !ATIME_FLAGS);
        if self.flags & ATIME_FLAGS != 0 {
            attr.clear |= ATTR_ATIME | ATTR_NODIRATIME & !attr.set;
        }
        attr
    }

    fn recurse(&mut self, attr: u64, effect: Effect) {
        let is_atime = ACCESS_TIMES.contains(&attr);
        match effect {
            Effect::Set => {
                if is_atime {
                    self.recursive.set &= !ATTR_ATIME;
                }
                self.recursive.set |= attr;
                self.recursive.clear &= !attr;
            }
            Effect::Clear => {
                self.recursive.clear |= attr;
                self.recursive.set &= !attr;
            }
        }
        if is_atime {
            self.recursive.clear |= ATTR_ATIME;
        }
    }
}

/// `MS_*` as mount attributes; what has no attribute is left out.
pub(crate) fn attributes(flags: u32) -> u64 {
    let mut attributes = 0;
    for (flag, attribute) in [
        (MS_RDONLY, ATTR_RDONLY),
        (MS_NOSUID, ATTR_NOSUID),
        (MS_NODEV, ATTR_NODEV),
        (MS_NOEXEC, ATTR_NOEXEC),
        (MS_NODIRATIME, ATTR_NODIRATIME),
        (MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    ] {
        if flags & flag != 0 {
            attributes |= attribute;
        }
    }
    // The kernel takes strictatime for the strongest, then noatime.
    if flags & MS_STRICTATIME != 0 {
        attributes |= ATTR_STRICTATIME;
    } else if flags & MS_NOATIME != 0 {
        attributes |= ATTR_NOATIME;
    }
    attributes
}

/// The propagation that `linux.rootfsPropagation` names; `None` if it names none.
pub(crate) fn propagation(name: &str) -> Option<u32> {
    PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, change)| *change)
}

/// Returns the names of all options that mean something here rather than to a file system, in order.
pub(crate) fn names() -> Vec<&'static str> {
    let flags = FLAGS.iter().map(|(name, ..)| *name);
    let propagation = PROPAGATION.iter().map(|(name, _)| *name);
    let recursive = RECURSIVE.iter().map(|(name, ..)| *name);
    let mut names: Vec<&str> = flags.chain(propagation).chain(recursive).collect();
    names.extend(["defaults", "idmap", "ridmap", "tmpcopyup"]);
    names.sort_unstable();
    names
}

#[derive(Clone, Copy)]
enum Effect {
    Set,
    Clear,
}

/// Relative access times are the absence of the other two.
const ATTR_RELATIME: u64 = 0;
const ACCESS_TIMES: [u64; 3] = [ATTR_RELATIME, ATTR_NOATIME, ATTR_STRICTATIME];

const FLAGS: [(&str, u32, Effect); 32] = [
    ("async", MS_SYNCHRONOUS, Effect::Clear),
    ("atime", MS_NOATIME, Effect::Clear),
    ("bind", MS_BIND, Effect::Set),
    ("dev", MS_NODEV, Effect::Clear),
    ("diratime", MS_NODIRATIME, Effect::Clear),
    ("dirsync", MS_DIRSYNC, Effect::Set),
    ("exec", MS_NOEXEC, Effect::Clear),
    ("iversion", MS_I_VERSION, Effect::Set),
    ("lazytime", MS_LAZYTIME, Effect::Set),
    ("loud", MS_SILENT, Effect::Clear),
    ("mand", MS_MANDLOCK, Effect::Set),
    ("noatime", MS_NOATIME, Effect::Set),
    ("nodev", MS_NODEV, Effect::Set),
    ("nodiratime", MS_NODIRATIME, Effect::Set),
    ("noexec", MS_NOEXEC, Effect::Set),
    ("noiversion", MS_I_VERSION, Effect::Clear),
    ("nolazytime", MS_LAZYTIME, Effect::Clear),
    ("nomand", MS_MANDLOCK, Effect::Clear),
    ("norelatime", MS_RELATIME, Effect::Clear),
    ("nostrictatime", MS_STRICTATIME, Effect::Clear),
    ("nosuid", MS_NOSUID, Effect::Set),
    ("nosymfollow", MS_NOSYMFOLLOW, Effect::Set),
    ("rbind", MS_BIND | MS_REC, Effect::Set),
    ("relatime", MS_RELATIME, Effect::Set),
    ("remount", MS_REMOUNT, Effect::Set),
    ("ro", MS_RDONLY, Effect::Set),
    ("rw", MS_RDONLY, Effect::Clear),
    ("silent", MS_SILENT, Effect::Set),
    ("strictatime", MS_STRICTATIME, Effect::Set),
    ("suid", MS_NOSUID, Effect::Clear),
    ("sync", MS_SYNCHRONOUS, Effect::Set),
    ("symfollow", MS_NOSYMFOLLOW, Effect::Clear),
];

const PROPAGATION: [(&str, u32); 8] = [
    ("private", MS_PRIVATE),
    ("rprivate", MS_PRIVATE | MS_REC),
    ("slave", MS_SLAVE),
    ("rslave", MS_SLAVE | MS_REC),
    ("shared", MS_SHARED),
    ("rshared", MS_SHARED | MS_REC),
    ("unbindable", MS_UNBINDABLE),
    ("runbindable", MS_UNBINDABLE | MS_REC),
];

const RECURSIVE: [(&str, u64, Effect); 18] = [
    ("rro", ATTR_RDONLY, Effect::Set),
    ("rrw", ATTR_RDONLY, Effect::Clear),
    ("rnosuid", ATTR_NOSUID, Effect::Set),
    ("rsuid", ATTR_NOSUID, Effect::Clear),
    ("rnodev", ATTR_NODEV, Effect::Set),
    ("rdev", ATTR_NODEV, Effect::Clear),
    ("rnoexec", ATTR_NOEXEC, Effect::Set),
    ("rexec", ATTR_NOEXEC, Effect::Clear),
    ("rnodiratime", ATTR_NODIRATIME, Effect::Set),
    ("rdiratime", ATTR_NODIRATIME, Effect::Clear),
    ("rrelatime", ATTR_RELATIME, Effect::Set),
    ("rnorelatime", ATTR_RELATIME, Effect::Clear),
    ("rnoatime", ATTR_NOATIME, Effect::Set),
    ("ratime", ATTR_NOATIME, Effect::Clear),
    ("rstrictatime", ATTR_STRICTATIME, Effect::Set),
    ("rnostrictatime", ATTR_STRICTATIME, Effect::Clear),
    ("rnosymfollow", ATTR_NOSYMFOLLOW, Effect::Set),
    ("rsymfollow", ATTR_NOSYMFOLLOW, Effect::Clear),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> MountOptions {
        MountOptions::parse(&options.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_propagation_and_data_are_told_apart() {
        let options = parse("nosuid,strictatime,mode=755,size=65536k,rslave,private");
        assert_eq!(options.flags, MS_NOSUID | MS_STRICTATIME);
        assert_eq!(options.data, "mode=755,size=65536k");
        assert_eq!(options.propagation, [MS_SLAVE | MS_REC, MS_PRIVATE]);
        assert!(!options.is_bind());
    }

    #[test]
    fn later_options_win() {
        let options = parse("ro,rbind,rw");
        assert_eq!(options.flags, MS_BIND | MS_REC);
        assert_eq!(options.cleared, MS_RDONLY);
    }

    #[test]
    fn bind_mounts_get_just_the_flags_named() {
        assert_eq!(parse("rbind").bind_attr(), None);
        assert_eq!(parse("rbind,rprivate").bind_attr(), None);
        let attr = parse("bind,ro").bind_attr().unwrap();
        assert_eq!(attr.set, ATTR_RDONLY);
        assert_eq!(attr.clear, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW);
        let attr = parse("bind,noatime").bind_attr().unwrap();
        assert_eq!(attr.set, ATTR_NOATIME);
        assert_eq!(attr.clear & ATTR_ATIME, ATTR_ATIME);
        assert_eq!(parse("bind,ro").bind_attr_kept().clear, 0);
        assert_eq!(parse("bind,rw").bind_attr_kept().clear, ATTR_RDONLY);
    }

    #[test]
    fn recursive_attributes_keep_access_times_exclusive() {
        let options = parse("rro,rnoatime,rstrictatime,rsuid");
        assert_eq!(options.recursive.set, ATTR_RDONLY | ATTR_STRICTATIME);
        assert_eq!(options.recursive.clear, ATTR_ATIME | ATTR_NOSUID);
    }
}
