//! From a changed tree to a layer, and from the layer to the same tree.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use stowd_core::descriptor::media_type;
use stowd_core::diff::Placement;
use stowd_core::mount::Mount;
use stowd_core::snapshots::Commit;
use stowd_core::{Labels, Scope};
use stowd_testing::image::entry::{Entry, Kind};
use stowd_testing::image::{Compression, Layer};
use stowd_testing::mounts::Mounted;

use crate::bench::{Bench, names, overlay};
use crate::tree::{describe, make_capable, set_time};

/// A tree with something to be changed in every way.
fn below() -> Vec<u8> {
    let mut layer = Layer::new();
    for folder in
        ["gone", "gone/deep", "anew", "anew/sub", "to-file", "to-link", "same", "same/sub"]
    {
        layer = layer.directory(folder);
    }
    for file in [
        "text",
        "mode",
        "owner",
        "time",
        "bytes",
        "capable",
        "linked",
        "removed",
        "to-folder",
        "to-socket",
        "gone/a",
        "gone/deep/b",
        "anew/old",
        "anew/both",
        "anew/sub/c",
        "to-file/d",
        "to-link/e",
        "same/f",
        "same/sub/g",
    ] {
        layer = layer.file(file, format!("this is {file}"));
    }
    layer
        .hard_link("linked-before", "linked")
        .symlink("link", "text")
        .symlink("link-gone", "text")
        .entry(Entry::new("null", Kind::CharDevice(1, 3)))
        .pack(Compression::Plain)
        .blob
        .data
}

fn change(top: &Path) {
    let at = |name: &str| top.join(name);
    let set_mode = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(at("text"), "changed").unwrap();
    set_mode("mode", 0o4711);
    chown(at("owner"), Some(100_000), Some(3_000_000)).unwrap();
    set_time(&at("time"), 1_111_111_111, 0);
    // As long as before and at the same second, as a layer's times are.
    let told = fs::metadata(at("bytes")).unwrap();
    fs::write(at("bytes"), "THIS IS BYTES").unwrap();
    set_time(&at("bytes"), told.mtime(), told.mtime_nsec());
    make_capable(&at("capable"));
    fs::hard_link(at("linked"), at("linked-now")).unwrap();
    fs::remove_file(at("removed")).unwrap();
    fs::remove_file(at("link-gone")).unwrap();
    fs::remove_file(at("null")).unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_dir_all(at("anew")).unwrap();
    fs::create_dir(at("anew")).unwrap();
    fs::write(at("anew/both"), "another").unwrap();
    fs::remove_file(at("to-folder")).unwrap();
    fs::create_dir_all(at("to-folder/deep")).unwrap();
    fs::write(at("to-folder/deep/h"), "h").unwrap();
    fs::remove_dir_all(at("to-file")).unwrap();
    fs::write(at("to-file"), "now a file").unwrap();
    fs::remove_dir_all(at("to-link")).unwrap();
    symlink("same", at("to-link")).unwrap();
    fs::remove_file(at("to-socket")).unwrap();
    drop(UnixListener::bind(at("to-socket")).unwrap());
    drop(UnixListener::bind(at("socket")).unwrap());
    make_new(&at("new"));
    set_mode("same/sub", 0o1777);
    // Attributes that no layer carries.
    rustix::fs::setxattr(at("new"), "trusted.example", b"x", XattrFlags::empty()).unwrap();
}

fn make_new(new: &Path) {
    let at = |name: &str| new.join(name);
    fs::create_dir_all(at("deep/er")).unwrap();
    fs::write(at("deep/er/file"), vec![b'x'; 1_000_000]).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::hard_link(at("deep/er/file"), at("hard")).unwrap();
    make_capable(&at("hard"));
    symlink("/no/where", at("dangling")).unwrap();
    symlink("t/".repeat(200), at("far")).unwrap();
    fs::hard_link(at("far"), at("far-too")).unwrap();
    fs::write(at(&"n".repeat(250)), "long").unwrap();
    fs::write(at("größe\n"), "odd").unwrap();
    fs::File::create(at("hole")).unwrap().set_len(3 << 20).unwrap();
    let special = |name: &str, kind, device| {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    };
    special("pipe", FileType::Fifo, 0);
    special("null", FileType::CharacterDevice, makedev(1, 3));
    special("disk", FileType::BlockDevice, makedev(259, 70_000));
}

struct Rig<'a> {
    bench: &'a Bench,
    scope: Scope,
    snapshotter: &'a str,
}

impl Rig<'_> {
    async fn prepare(&self, key: &str, parent: Option<&str>) -> Vec<Mount> {
        let snapshotter = self.bench.snapshotter(self.snapshotter);
        snapshotter.prepare(&self.scope, key, parent, Labels::new()).await.unwrap()
    }

    async fn commit(&self, name: &str, key: &str) {
        let snapshotter = self.bench.snapshotter(self.snapshotter);
        snapshotter.commit(&self.scope, name, key, Commit::default()).await.unwrap();
    }

    async fn view(&self, name: &str) -> Vec<Mount> {
        let snapshotter = self.bench.snapshotter(self.snapshotter);
        let key = format!("view-{name}");
        snapshotter.view(&self.scope, &key, Some(name), Labels::new()).await.unwrap()
    }

    fn look<T>(&self, mounts: &[Mount], look: impl FnOnce(&Path) -> T) -> T {
        let place = self.bench.folder(&format!("mounted-{}", self.snapshotter));
        let mounted = Mounted::at(&place, mounts);
        let seen = look(mounted.path());
        mounted.unmount();
        seen
    }
}

/// Returns the names in the layer.
async fn goes_round(bench: &Bench, snapshotter: &str) -> Vec<String> {
    let rig = Rig { bench, scope: bench.scope().await, snapshotter };
    let on_parents = Placement::OnParents;
    let mounts = rig.prepare("1", None).await;
    bench.apply(&mounts, on_parents, media_type::LAYER, below()).await.unwrap();
    rig.commit("lower", "1").await;

    let active = rig.prepare("2", Some("lower")).await;
    rig.look(&active, change);
    let lower = rig.view("lower").await;
    let layer = bench.compare(&lower, &active).await.unwrap();
    rig.commit("upper", "2").await;
    let upper = rig.view("upper").await;
    assert_eq!(bench.compare(&lower, &upper).await.unwrap(), layer, "active and committed differ");

    let again = rig.prepare("3", Some("lower")).await;
    bench.apply(&again, on_parents, media_type::LAYER, layer.clone()).await.unwrap();
    let mut wanted = rig.look(&upper, describe);
    for socket in ["to-socket", "socket"] {
        assert!(wanted.remove(socket).is_some());
    }
    assert_eq!(rig.look(&again, describe), wanted, "{snapshotter}");
    let same = bench.compare(&lower, &again).await.unwrap();
    assert!(same == layer, "{snapshotter}: the way to what was applied is another");

    if let [bind] = &lower[..]
        && snapshotter == "overlayfs"
    {
        // Written without knowing what is below, and put on top of it later.
        let alone = bench.folder("alone");
        let detached = crate::bench::bind(&alone);
        bench
            .apply(&detached, Placement::Detached, media_type::LAYER, layer.clone())
            .await
            .unwrap();
        let bound = overlay(&alone, &[Path::new(&bind.source)], &[]);
        assert_eq!(rig.look(&bound, describe), wanted, "detached");
    }
    names(&layer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_goes_through_a_layer() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let on_overlayfs = goes_round(&bench, "overlayfs").await;
    let mut on_native = goes_round(&bench, "native").await;
    // An overlay copies a file up under one of its names only.
    on_native.retain(|name| name != "linked-before");
    assert_eq!(on_overlayfs, on_native);
    for name in [
        ".wh.gone",
        ".wh.removed",
        ".wh.link-gone",
        ".wh.null",
        ".wh.to-socket",
        "anew/.wh.old",
        "anew/.wh.sub",
        "anew/both",
        "same/",
        "same/sub/",
        "linked-now",
        "linked",
        "capable",
        "bytes",
    ] {
        assert!(on_native.iter().any(|entry| entry == name), "{name} is not in {on_native:#?}");
    }
    for name in ["same/f", "same/sub/g", "link", "socket", "to-socket", "gone/", ".wh.to-file"] {
        assert!(!on_native.iter().any(|entry| entry == name), "{name} is in {on_native:#?}");
    }
}
