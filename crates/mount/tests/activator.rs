//! The mount manager's hands on the real kernel. Needs root.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stowd_core::mount::Mount;
use stowd_core::mounts::{ActivationId, Extent, Found, Made, Mounter as _, Options, State};
use stowd_mount::{Activator, manager};
use stowd_testing::need;

/// An activator in a folder of its own. All of its mounts are undone when the test ends.
struct Bench {
    activator: Activator,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("stowd-activator-").tempdir().unwrap();
        Self { activator: open(folder.path()), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, id: u64, mounts: Vec<Mount>) -> stowd_core::Result<Made> {
        let options = Options { extent: Extent::All, ..Options::default() };
        self.activator.make(ActivationId(id), mounts, &options)
    }

    fn found(&self) -> Vec<(u64, State)> {
        let found = |Found { id, state }| (id.0, state);
        let mut all: Vec<_> = self.activator.list().unwrap().into_iter().map(found).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for found in self.activator.list().unwrap_or_default() {
            let _ = self.activator.undo(found.id);
        }
    }
}

fn open(folder: &Path) -> Activator {
    let roots = vec![folder.to_owned()];
    Activator::open(manager::Config { targets: folder.join("t"), roots }).unwrap()
}

fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: String::new(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn tmpfs() -> Mount {
    mount("tmpfs", "tmpfs", &[])
}

fn device(image: &Path) -> Mount {
    mount("mkfs/loop", image.to_str().unwrap(), &["X-containerd.mkfs.size=1m"])
}

fn backing(device: &Path) -> Option<String> {
    let name = device.file_name().unwrap();
    fs::read_to_string(Path::new("/sys/block").join(name).join("loop/backing_file")).ok()
}

#[test]
fn what_is_made_is_found_and_undone() {
    need!(root);
    let bench = Bench::new();
    let made = bench.make(1, vec![tmpfs(), device(&bench.path("image")), tmpfs()]).unwrap();
    bench.make(2, vec![tmpfs()]).unwrap();
    assert_eq!(made.active.len(), 3);
    assert_eq!(bench.found(), [(1, State::Whole), (2, State::Whole)]);
    // Another process finds the same.
    assert_eq!(open(bench.folder.path()).list().unwrap().len(), 2);
    rustix::mount::unmount(&*made.active[0].point, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(bench.found(), [(1, State::Broken), (2, State::Whole)]);
    for id in [1, 2, 1, 3] {
        bench.activator.undo(ActivationId(id)).unwrap();
    }
    assert_eq!(bench.found(), []);
    assert!(!Path::new(&made.active[0].point).exists());
}

#[test]
fn what_a_kill_leaves_at_any_step_is_undone() {
    need!(root);
    let bench = Bench::new();
    let folder = bench.activator.targets().join("stowd-7");
    let steps: [&dyn Fn(&Path); 6] = [
        &|_| {},
        &|folder| fs::write(folder.join("1-type"), "tmpfs").unwrap(),
        &|folder| {
            fs::write(folder.join("1-type"), "tmpfs").unwrap();
            fs::create_dir(folder.join("1")).unwrap();
        },
        &|folder| fs::write(folder.join("1-type"), "loop\n1:2").unwrap(),
        &|folder| {
            fs::write(folder.join("1-type"), "loop\n1:2").unwrap();
            std::os::unix::fs::symlink("/dev/loop0", folder.join("1")).unwrap();
        },
        // In the middle of undoing: the notes go last.
        &|folder| {
            fs::write(folder.join("2-type"), "tmpfs").unwrap();
            fs::create_dir(folder.join("1")).unwrap();
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        fs::create_dir(&folder).unwrap();
        step(&folder);
        let state = if number == 0 { State::Whole } else { State::Broken };
        assert_eq!(bench.found(), [(7, state)], "step {number}");
        bench.activator.undo(ActivationId(7)).unwrap();
        assert_eq!(bench.found(), [], "step {number}");
    }
}

#[test]
fn what_is_not_its_own_is_left_alone() {
    need!(root);
    let bench = Bench::new();
    // containerd's mount points are in the same folder.
    fs::create_dir_all(bench.activator.targets().join("1/1")).unwrap();
    assert_eq!(bench.found(), []);
    let made = bench.make(1, vec![tmpfs()]).unwrap();
    let point = Path::new(&made.active[0].point);
    rustix::mount::unmount(point, rustix::mount::UnmountFlags::empty()).unwrap();
    fs::write(point.join("file"), "somebody's").unwrap();
    assert!(bench.activator.undo(ActivationId(1)).is_err());
    assert!(point.join("file").exists());
    fs::remove_file(point.join("file")).unwrap();
    bench.activator.undo(ActivationId(1)).unwrap();
    assert!(bench.activator.targets().join("1/1").exists());
}

#[test]
fn a_device_that_is_anothers_by_now_is_left_alone() {
    need!(root);
    let bench = Bench::new();
    let (own, other) = (bench.path("own"), bench.path("other"));
    let made = bench.make(1, vec![device(&own)]).unwrap();
    let link = PathBuf::from(&made.active[0].point);
    let loop_device = fs::read_link(&link).unwrap();
    let losetup = |args: &[&str]| {
        assert!(Command::new("losetup").args(args).status().unwrap().success(), "{args:?}");
    };
    let name = loop_device.to_str().unwrap();
    losetup(&["-d", name]);
    fs::write(&other, vec![0; 1 << 20]).unwrap();
    losetup(&[name, other.to_str().unwrap()]);
    assert_eq!(bench.found(), [(1, State::Broken)]);
    bench.activator.undo(ActivationId(1)).unwrap();
    assert!(backing(&loop_device).is_some_and(|file| file.trim_end() == other.to_str().unwrap()));
    losetup(&["-d", name]);
}

#[test]
fn after_the_machines_restart_devices_are_not_touched() {
    need!(root);
    let bench = Bench::new();
    let image = bench.path("image");
    let made = bench.make(1, vec![device(&image)]).unwrap();
    let loop_device = fs::read_link(&made.active[0].point).unwrap();
    assert!(backing(&loop_device).is_some());
    fs::write(bench.activator.targets().join("stowd-boot"), "another").unwrap();
    let again = open(bench.folder.path());
    assert_eq!(bench.found(), [(1, State::Broken)]);
    again.undo(ActivationId(1)).unwrap();
    assert_eq!(bench.found(), []);
    assert!(backing(&loop_device).is_some(), "the device was let go");
    assert!(Command::new("losetup").arg("-d").arg(&loop_device).status().unwrap().success());
    // A start in the same run of the machine forgets nothing.
    bench.make(2, vec![device(&image)]).unwrap();
    open(bench.folder.path());
    assert_eq!(bench.found(), [(2, State::Whole)]);
}

#[test]
fn many_mounts_are_undone_in_their_order() {
    need!(root);
    let bench = Bench::new();
    let mut mounts = vec![tmpfs()];
    // Each is built upon the one before, and keeps it in use.
    for number in 0..30 {
        mounts.push(mount("format/bind", &format!("{{{{ mount {number} }}}}"), &["rbind"]));
    }
    bench.make(1, mounts).unwrap();
    assert_eq!(bench.found(), [(1, State::Whole)]);
    bench.activator.undo(ActivationId(1)).unwrap();
    assert_eq!(bench.found(), []);
}

#[test]
fn owners_of_directories_are_set() {
    use std::os::unix::fs::MetadataExt as _;
    need!(root);
    let bench = Bench::new();
    let path = bench.path("owned");
    let option = format!("X-containerd.mkdir.path={}:0750:12:34", path.display());
    let bind = mount("mkdir/bind", bench.folder.path().to_str().unwrap(), &["rbind", &option]);
    bench.make(1, vec![bind]).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o750, 12, 34));
}
