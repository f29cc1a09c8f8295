//! What a tree holds, in words that can be compared.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use stowd_core::Digest;

/// `cap_net_raw+ep`, as the kernel stores it.
pub(crate) const CAPABILITY: [u8; 20] =
    [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Makes a program capable.
pub(crate) fn make_capable(path: &Path) {
    lsetxattr(path, "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
}

/// Sets a file's time.
pub(crate) fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

/// Describes all that a layer carries: kinds, modes, owners, whole seconds of times, contents, links
/// and capabilities. Times of directories change with what is made in them and are left out.
pub(crate) fn describe(top: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut first_names = HashMap::new();
    let mut pending = vec![top.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let mut paths: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            let told = fs::symlink_metadata(&path).unwrap();
            let kind = told.file_type();
            let mut text = format!("{:o} {}:{}", told.mode(), told.uid(), told.gid());
            if kind.is_dir() {
                pending.push(path.clone());
            } else {
                let first = first_names.entry(told.ino()).or_insert_with(Vec::new);
                first.push(name.clone());
                text.push_str(&format!(" at {} links {}", told.mtime(), told.nlink()));
            }
            if kind.is_symlink() {
                text.push_str(&format!(" -> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_file() {
                text.push_str(&format!(" {}", Digest::of(&fs::read(&path).unwrap())));
            } else if kind.is_char_device() || kind.is_block_device() {
                text.push_str(&format!(" device {:x}", told.rdev()));
            }
            let mut value = [0; 64];
            if let Ok(length) = lgetxattr(&path, "security.capability", &mut value[..]) {
                text.push_str(&format!(" capable {:?}", &value[..length]));
            }
            all.insert(name, text);
        }
    }
    for names in first_names.into_values().filter(|names| names.len() > 1) {
        let mut names = names;
        names.sort();
        for name in &names {
            all.entry(name.clone()).and_modify(|text| text.push_str(&format!(" = {names:?}")));
        }
    }
    all
}
