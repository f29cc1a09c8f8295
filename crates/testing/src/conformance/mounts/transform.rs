//! What is done to mounts before they are made.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::mounts::Mounted;

/// The kinds with which formats that cannot be filled in are refused: containerd's template engine
/// has no kinds.
const SENSELESS: &[ErrorKind] = &[ErrorKind::InvalidArgument, ErrorKind::Unknown];

pub(super) async fn formats_are_filled_in(it: &Subject) {
    let (one, two) = (it.source("one"), it.source("two"));
    let binds =
        || vec![mount("bind", &one, &["rbind", "ro"]), mount("bind", &two, &["rbind", "ro"])];
    for lower in [
        "lowerdir={{ mount 1 }}:{{ mount 0 }}",
        "lowerdir={{ overlay 1 0 }}",
        "lowerdir={{overlay 0 1}}",
        "lowerdir={{ source 1 }}:{{- mount 0 -}}",
    ] {
        let mut mounts = binds();
        mounts.push(mount("format/overlay", "overlay", &["index=off", lower]));
        let made = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await.must(lower);
        assert_eq!((made.active.len(), made.system.len()), (2, 1));
        assert_eq!(made.system[0].kind, "overlay");
        let mounted = Mounted::at(&it.folder.join("target"), &made.system);
        for name in ["one", "two"] {
            assert_eq!(fs::read_to_string(mounted.path().join(name)).unwrap(), name, "{lower}");
        }
        mounted.unmount();
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    }
}

pub(super) async fn formats_that_make_no_sense_are_refused(it: &Subject) {
    let one = it.source("one");
    for text in [
        "{{ mount 1 }}",
        "{{ mount -1 }}",
        "{{ mount }}",
        "{{ overlay 0 1 }}",
        "{{ nothing 0 }}",
        "{{ mount 0",
    ] {
        let mounts = vec![mount("bind", &one, &["rbind"]), mount("format/bind", text, &["rbind"])];
        let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
        refused(activated, SENSELESS);
        assert!(!it.is_active("a").await);
        assert_eq!(it.mounted(), 0);
    }
}

pub(super) async fn file_systems_are_made_once(it: &Subject) {
    let image = it.folder.join("image");
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    let option = format!("X-containerd.mkfs.uuid={uuid}");
    let with = ["X-containerd.mkfs.size=8m", "X-containerd.mkfs.fs=ext2", option.as_str()];
    let mounts = vec![mount("mkfs/ext2", &image, &[&with[..], &["loop"]].concat())];
    let mut inode = None;
    for _ in 0..2 {
        let made = it.mounts.activate(&it.scope, "a", mounts.clone(), temporary()).await;
        let made = made.must("making a file system");
        assert_eq!(made.active[0].mount, mount("ext2", &image, &["loop"]));
        let file = fs::metadata(&image).unwrap();
        assert_eq!((file.len(), file.permissions().mode() & 0o777), (8 << 20, 0o640));
        assert_eq!(*inode.get_or_insert(file.ino()), file.ino());
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    }
    // ext2 has its UUID 104 bytes into the superblock, which is 1 KiB into the device.
    let hex: String =
        fs::read(&image).unwrap()[1128..1144].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, uuid.replace('-', ""));
    assert_eq!(fs::read_dir(&it.folder).unwrap().count(), 1, "there is more than the image");
}

pub(super) async fn options_of_file_systems_are_checked(it: &Subject) {
    let image = it.folder.join("image");
    for (options, kinds) in [
        (&[] as &[&str], &[ErrorKind::InvalidArgument] as &[_]),
        (&["size=1m", "fs=fat"], &[ErrorKind::InvalidArgument]),
        (&["size=1m", "colour=red"], &[ErrorKind::InvalidArgument]),
        (&["size=1m", "journal"], &[ErrorKind::InvalidArgument]),
        (&["size=much"], SENSELESS),
    ] {
        let options: Vec<String> =
            options.iter().map(|option| format!("X-containerd.mkfs.{option}")).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mounts = vec![mount("mkfs/loop", &image, &options)];
        let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
        refused(activated, kinds);
        assert!(!image.exists(), "{options:?}");
    }
}

pub(super) async fn directories_are_made(it: &Subject) {
    let lower = it.source("lower");
    let path = |name: &str| it.folder.join(name).display().to_string();
    let options = [
        format!("X-containerd.mkdir.path={}:0755", path("upper")),
        format!("lowerdir={}", lower.display()),
        format!("upperdir={}", path("upper")),
        format!("workdir={}", path("work")),
        format!("X-containerd.mkdir.path={}", path("work")),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mounts = vec![mount("mkdir/overlay", "overlay", &options)];
    for _ in 0..2 {
        let made = it.mounts.activate(&it.scope, "a", mounts.clone(), Options::default()).await;
        let made = made.must("making directories");
        assert_eq!(made.system, [mount("overlay", "overlay", &options[1..4])]);
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("upper"), mode("work")), (0o755, 0o700));
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
    }
    for wrong in ["path=/a:99", "path=/a:755:1", "path=/a:755:x:y", "mode=755"] {
        let option = format!("X-containerd.mkdir.{wrong}");
        let mounts = vec![mount("mkdir/overlay", "overlay", &[option.as_str()])];
        let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
        refused(activated, SENSELESS);
    }
    // That mode is another's; containerd cannot change it.
    let option = format!("X-containerd.mkdir.path={}:0700", path("upper"));
    let mounts = vec![mount("mkdir/overlay", "overlay", &[option.as_str()])];
    let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
    refused(activated, &[ErrorKind::NotImplemented]);
}

pub(super) async fn nothing_is_made_outside_of_the_roots(it: &Subject) {
    let outside = std::env::temp_dir().join(it.folder.file_name().expect("a name"));
    std::os::unix::fs::symlink(std::env::temp_dir(), it.folder.join("out")).unwrap();
    let through = it.folder.join("out").join(it.folder.file_name().expect("a name"));
    // Far enough up to leave any root.
    let above = format!("{}{}{}", it.folder.display(), "/..".repeat(40), outside.display());
    for path in [outside.display().to_string(), through.display().to_string(), above] {
        let option = format!("X-containerd.mkdir.path={path}");
        for mounts in [
            vec![mount("mkdir/bind", &it.folder, &[option.as_str()])],
            vec![mount("mkfs/loop", &path, &["X-containerd.mkfs.size=1m"])],
        ] {
            let activated = it.mounts.activate(&it.scope, "a", mounts, Options::default()).await;
            let kinds = [ErrorKind::NotImplemented, ErrorKind::InvalidArgument, ErrorKind::Unknown];
            refused(activated, &kinds);
            assert!(!outside.exists(), "{path}");
        }
    }
}

pub(super) async fn transformers_can_be_chained(it: &Subject) {
    let (image, lower) = (it.folder.join("image"), it.source("lower"));
    let below = format!("lowerdir={}", lower.display());
    let mounts = vec![
        mount("mkfs/loop", &image, &["X-containerd.mkfs.size=16MiB"]),
        mount("format/ext4", "{{ mount 0 }}", &[]),
        mount(
            "format/mkdir/overlay",
            "overlay",
            &[
                "X-containerd.mkdir.path={{ mount 1 }}/upper:0755",
                "X-containerd.mkdir.path={{ mount 1 }}/work:0755",
                below.as_str(),
                "upperdir={{ mount 1 }}/upper",
                "workdir={{ mount 1 }}/work",
            ],
        ),
    ];
    for round in 0..2 {
        let made = it.mounts.activate(&it.scope, "a", mounts.clone(), Options::default()).await;
        let made = made.must("activating a chain");
        assert_eq!((made.active.len(), made.system.len()), (2, 1));
        assert_eq!(made.system[0].kind, "overlay");
        let mounted = Mounted::at(&it.folder.join("target"), &made.system);
        assert_eq!(fs::read_to_string(mounted.path().join("lower")).unwrap(), "lower");
        let file = mounted.path().join("file");
        if round == 0 {
            fs::write(&file, "kept in the image").unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept in the image");
        mounted.unmount();
        it.mounts.deactivate(&it.scope, "a").await.must("deactivating");
        assert_eq!(it.mounted(), 0);
    }
}
