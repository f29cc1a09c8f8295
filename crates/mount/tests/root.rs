//! Mounts on the real kernel. Needs root.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::fs;
use std::path::{Path, PathBuf};

use stowd_core::ErrorKind;
use stowd_core::mount::Mount;
use stowd_mount::{TempRoot, mount, mount_all, unmount_all};
use stowd_testing::need;

fn made(kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: String::new(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

/// A directory whose mounts are taken off when the test ends, however it ends.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("stowd-mount-").tempdir().unwrap())
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = TempRoot::open(self.0.path().join("never"));
        for target in mounts_below(self.0.path()).iter().rev() {
            let _ = unmount_all(target);
        }
    }
}

fn mounts_below(path: &Path) -> Vec<PathBuf> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .filter(|target| target.starts_with(path))
        .collect()
}

#[test]
fn a_read_only_bind_cannot_be_written_to() {
    need!(root);
    let scratch = Scratch::new();
    let (from, to) = (scratch.dir("from"), scratch.dir("to"));
    fs::write(from.join("file"), "x").unwrap();
    mount(&made("bind", from.to_str().unwrap(), &["rbind", "ro"]), &to).unwrap();
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "x");
    let error = fs::write(to.join("file"), "y").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    unmount_all(&to).unwrap();
    assert!(!to.join("file").exists());
    assert_eq!(mounts_below(&to), Vec::<PathBuf>::new());
}

#[test]
fn flags_and_data_reach_the_file_system() {
    need!(root);
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    mount(&made("tmpfs", "tmpfs", &["nosuid", "noexec", "size=64k", "mode=0711"]), &to).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(to.to_str().unwrap())).unwrap();
    assert!(line.contains("nosuid") && line.contains("noexec"), "{line}");
    assert!(line.contains("size=64k") && line.contains("mode=711"), "{line}");
}

#[test]
fn all_layers_of_a_target_come_off() {
    need!(root);
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    for _ in 0..3 {
        mount(&made("tmpfs", "tmpfs", &[]), &to).unwrap();
    }
    assert_eq!(mounts_below(&to).len(), 3);
    unmount_all(&to).unwrap();
    assert_eq!(mounts_below(&to).len(), 0);
    unmount_all(&to).unwrap();
    unmount_all(&to.join("not there")).unwrap();
}

#[test]
fn a_busy_mount_goes_out_of_sight() {
    need!(root);
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    mount(&made("tmpfs", "tmpfs", &[]), &to).unwrap();
    let held = fs::File::create(to.join("held")).unwrap();
    unmount_all(&to).unwrap();
    assert!(!to.join("held").exists());
    drop(held);
}

#[test]
fn a_list_is_undone_when_one_of_it_fails() {
    need!(root);
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    let list = [made("tmpfs", "tmpfs", &[]), made("no-such-file-system", "x", &[])];
    let error = stowd_core::Error::from(mount_all(&list, &to).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::NotImplemented, "{error}");
    assert!(error.hint_text().is_some());
    assert_eq!(mounts_below(&to).len(), 0);
}

#[test]
fn a_target_below_stays_below() {
    need!(root);
    let scratch = Scratch::new();
    let (to, outside) = (scratch.dir("to"), scratch.dir("outside"));
    fs::create_dir(to.join("inner")).unwrap();
    std::os::unix::fs::symlink(&outside, to.join("link")).unwrap();
    let mut below = made("tmpfs", "tmpfs", &[]);
    below.target = "inner".to_owned();
    mount_all(&[below.clone()], &to).unwrap();
    assert_eq!(mounts_below(&to), [to.join("inner")]);
    stowd_mount::unmount_mounts(&[below.clone()], &to).unwrap();
    assert_eq!(mounts_below(&to), Vec::<PathBuf>::new());
    below.target = "link".to_owned();
    assert!(mount_all(&[below], &to).is_err());
    assert_eq!(mounts_below(&outside), Vec::<PathBuf>::new());
}

#[test]
fn an_overlay_of_hundreds_of_layers_is_mounted() {
    need!(root, overlayfs);
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    // Long enough for the second way, and for the third.
    for (count, stem) in
        [(120, "snapshots/with-quite-a-long-name"), (300, "a-name-that-is-long-enough")]
    {
        let lower: Vec<String> = (0..count)
            .map(|number| {
                let dir = scratch.dir(&format!("{stem}/{number}-{count}/fs"));
                fs::write(dir.join(format!("file-{number}")), number.to_string()).unwrap();
                dir.to_str().unwrap().to_owned()
            })
            .collect();
        let list = stowd_mount::overlay::join(lower.iter().map(String::as_str));
        assert!(list.len() > 4096);
        mount(&made("overlay", "overlay", &["index=off", &format!("lowerdir={list}")]), &to)
            .unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), count);
        unmount_all(&to).unwrap();
    }
}

#[test]
fn temporary_mounts_end_with_their_guard_and_after_a_crash() {
    need!(root);
    let scratch = Scratch::new();
    let place = scratch.dir("temporary");
    let root = TempRoot::open(&place).unwrap();
    let tmpfs = [made("tmpfs", "tmpfs", &[])];
    let first = root.mount(&tmpfs).unwrap();
    fs::write(first.path().join("file"), "x").unwrap();
    drop(first);
    root.mount(&tmpfs).unwrap().close().unwrap();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    // What a killed process leaves: a mount whose guard never ran.
    std::mem::forget(root.mount(&tmpfs).unwrap());
    assert_eq!(mounts_below(&place).len(), 1);
    TempRoot::open(&place).unwrap();
    assert_eq!(mounts_below(&place).len(), 0);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

#[test]
fn a_file_is_mounted_through_a_loop_device() {
    need!(root);
    if !Path::new("/dev/loop-control").exists() {
        return;
    }
    let scratch = Scratch::new();
    let to = scratch.dir("to");
    let image = scratch.0.path().join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let made_fs = std::process::Command::new("mkfs.ext4").arg("-q").arg(&image).status();
    assert!(made_fs.is_ok_and(|status| status.success()), "mkfs.ext4 makes a file system");
    mount(&made("ext4", image.to_str().unwrap(), &["loop"]), &to).unwrap();
    fs::write(to.join("file"), "x").unwrap();
    unmount_all(&to).unwrap();
    mount(&made("ext4", image.to_str().unwrap(), &["ro", "loop"]), &to).unwrap();
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "x");
    assert!(fs::write(to.join("file"), "y").is_err());
    unmount_all(&to).unwrap();
}
