use std::path::Path;

use stowd_core::mount::Mount;

use super::*;

struct Files(&'static str, &'static str);

impl RootFiles for Files {
    fn read(&self, path: &'static str) -> Result<Option<Vec<u8>>> {
        Ok(Some(if path == PASSWD { self.0 } else { self.1 }.into()))
    }
}

const FILES: Files = Files(
    "root:x:0:0:root:/root:/bin/sh\n\n  guest:x:405:100:guest:/:/bin/sh\nodd:x:n/a:7\nshort\n",
    "root:x:0:root\n# wheel:x:10:root\nbin:x:1:root,bin,daemon\nusers:x:100:games\n\
     guest:x:405:guest\nvideo:x:27:guest,root\n",
);

fn user(text: &str) -> Result<(u32, u32, Vec<u32>)> {
    let mut spec = Spec::linux_default("n", "i");
    spec.set_user(text, &FILES)?;
    let user = spec.process.unwrap().user;
    Ok((user.uid, user.gid, user.additional_gids))
}

#[test]
fn users_by_name_and_number() {
    for (text, uid, gid) in [
        ("guest", 405, 100),
        ("405", 405, 100),
        ("1234", 1234, 0),
        ("1234:27", 1234, 27),
        ("guest:video", 405, 27),
        ("guest:5", 405, 5),
        ("1234:video", 1234, 27),
        ("odd", 0, 7),
        ("+5", 5, 0),
    ] {
        assert_eq!(user(text).unwrap(), (uid, gid, vec![gid]), "{text}");
    }
}

#[test]
fn unknown_and_impossible_users() {
    for (text, message) in [
        ("nobody", "no users found"),
        ("nobody:video", "no users found"),
        ("guest:nobody", "no groups found"),
        ("a:b:c", "invalid USER value a:b:c"),
        ("2147483648", "invalid USER value \"2147483648\": uid out of range"),
        ("-1", "invalid USER value \"-1\": uid out of range"),
        (
            "1:99999999999999999999",
            "invalid USER value \"1:99999999999999999999\": gid out of range",
        ),
    ] {
        assert_eq!(user(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn further_groups() {
    let mut spec = Spec::linux_default("n", "i");
    let gids = |spec: &Spec| spec.process.as_ref().unwrap().user.additional_gids.clone();
    spec.set_additional_gids("root", &FILES).unwrap();
    assert_eq!(gids(&spec), [0, 1, 27], "not the comment, not its own entry twice");
    spec.set_additional_gids("0", &FILES).unwrap();
    assert_eq!(gids(&spec), [0, 1, 27]);
    spec.set_additional_gids("999", &FILES).unwrap();
    assert_eq!(gids(&spec), [0]);
    spec.add_groups(&["video".into(), "77".into()], &FILES).unwrap();
    assert_eq!(gids(&spec), [0, 27, 77]);
    let error = spec.add_groups(&["none".into()], &FILES).unwrap_err();
    assert_eq!(error.to_string(), "unable to find group none");
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(view: &RootView) -> Option<String> {
    view.read(PASSWD).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn links_stay_within_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    write(&dir.path().join("secret"), "outside");
    write(&root.join("nix/store/passwd"), "inside");
    std::fs::create_dir(root.join("etc")).unwrap();
    let link = root.join("etc/passwd");
    for (target, content) in [
        ("/nix/store/passwd", Some("inside")),
        ("../nix/./store/../store/passwd", Some("inside")),
        ("../../../nix/store/passwd", Some("inside")),
        ("../../secret", None),
        (dir.path().join("secret").to_str().unwrap(), None),
    ] {
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert_eq!(read(&RootView::at(&root)).as_deref(), content, "{target}");
        std::fs::remove_file(&link).unwrap();
    }
    std::os::unix::fs::symlink("passwd", &link).unwrap();
    assert!(RootView::at(&root).read(PASSWD).is_err(), "a loop");
}

#[test]
fn only_regular_files_of_bounded_size_are_read() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("etc/passwd");
    std::fs::create_dir_all(&path).unwrap();
    let error = RootView::at(root.path()).read(PASSWD).unwrap_err();
    assert_eq!(error.to_string(), "/etc/passwd is not a regular file");
    std::fs::remove_dir(&path).unwrap();
    // Opening it for reading would wait for a writer.
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
    assert!(RootView::at(root.path()).read(PASSWD).is_err());
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = RootView::at(root.path()).read(PASSWD).unwrap_err();
    assert_eq!(error.to_string(), "/etc/passwd is larger than 10 MiB");
    assert!(RootView::at(root.path().join("none")).read(PASSWD).is_err(), "no root at all");
}

fn overlay(options: &[String]) -> Mount {
    Mount { kind: "overlay".into(), options: options.to_vec(), ..Mount::default() }
}

#[test]
fn layers_are_read_as_the_kernel_would_stack_them() {
    let dir = tempfile::tempdir().unwrap();
    let layer = |name: &str| dir.path().join(name);
    let lower = format!("lowerdir={}:{}", layer("b").display(), layer("a").display());
    let upper = format!("upperdir={}", layer("u").display());
    for name in ["a", "b", "u"] {
        std::fs::create_dir(layer(name)).unwrap();
    }
    let view = || RootView::of_mounts(&[overlay(&[lower.clone(), upper.clone()])]).unwrap();
    assert_eq!(read(&view()), None);
    write(&layer("a").join("etc/passwd"), "a");
    assert_eq!(read(&view()).as_deref(), Some("a"));
    std::fs::create_dir(layer("u").join("etc")).unwrap();
    assert_eq!(read(&view()).as_deref(), Some("a"), "directories merge");
    write(&layer("b").join("etc/passwd"), "b");
    assert_eq!(read(&view()).as_deref(), Some("b"));
    std::fs::remove_dir(layer("u").join("etc")).unwrap();
    // A link in an upper layer hides the directory below it.
    std::os::unix::fs::symlink("/other", layer("u").join("etc")).unwrap();
    assert_eq!(read(&view()), None);
    write(&layer("a").join("other/passwd"), "other");
    assert_eq!(read(&view()).as_deref(), Some("other"));
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    stowd_testing::need!(root);
    let dir = tempfile::tempdir().unwrap();
    let layer = |name: &str| dir.path().join(name);
    write(&layer("a").join("etc/passwd"), "a");
    std::fs::create_dir_all(layer("b").join("etc")).unwrap();
    let lower = format!("lowerdir={}:{}", layer("b").display(), layer("a").display());
    let view = || RootView::of_mounts(&[overlay(std::slice::from_ref(&lower))]).unwrap();
    assert_eq!(read(&view()).as_deref(), Some("a"));
    let whiteout = layer("b").join("etc/passwd");
    let char = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &whiteout, char, 0.into(), 0).unwrap();
    assert_eq!(read(&view()), None);
    std::fs::remove_file(&whiteout).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let name = "trusted.overlay.opaque";
    if rustix::fs::setxattr(layer("b").join("etc"), name, b"y", flags).is_ok() {
        assert_eq!(read(&view()), None);
    }
}

#[test]
fn mounts_that_need_mounting_say_so() {
    let bind = Mount { kind: "bind".into(), source: "/".into(), ..Mount::default() };
    assert!(RootView::of_mounts(&[bind]).is_ok());
    for kind in ["erofs", "ext4"] {
        let mount = Mount { kind: kind.into(), ..Mount::default() };
        let error = RootView::of_mounts(&[mount]).unwrap_err();
        assert_eq!(error.kind(), stowd_core::ErrorKind::NotImplemented);
    }
    assert!(RootView::of_mounts(&[]).is_err());
}
