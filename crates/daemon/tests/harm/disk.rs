//! A disk that is too small.

use std::path::PathBuf;

use rustix::mount::{MountFlags, mount};
use stowd_testing::image::{Image, Layer};
use stowd_testing::{Daemon, Scratch, leaks, need};

use crate::{IMAGE, assert_unharmed, collect, ctr, held, import};

/// How much the whole root may hold, in mebibytes.
const ROOM: usize = 24;

/// An image that no compression makes fit.
fn too_big() -> Image {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // xorshift64: its output does not compress.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take((ROOM << 20) / 8)
    .flatten()
    .collect();
    Image::of(&[Layer::new().file("noise", noise)])
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_there() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let root = scratch.folder("stowd/root");
    let size = std::ffi::CString::new(format!("size={ROOM}m")).unwrap();
    mount("tmpfs", &root, "tmpfs", MountFlags::empty(), Some(size.as_c_str())).unwrap();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    collect(&daemon);
    let before = held(&daemon);
    let archive = scratch.join("big.tar");
    too_big().write_oci_archive(&archive, "test.example/big:1");
    let archive = archive.to_str().unwrap();

    let by_ctr = ctr(&daemon, &["images", "import", archive]).fails();
    assert!(by_ctr.to_lowercase().contains("no space left"), "{by_ctr}");
    collect(&daemon);
    let by_stowctl = daemon.stowctl().args(["images", "import", archive]).fails();
    assert!(by_stowctl.to_lowercase().contains("no space left"), "{by_stowctl}");
    collect(&daemon);

    assert_unharmed(&mut daemon);
    assert_eq!(ctr(&daemon, &["images", "ls", "-q"]).ok().trim(), IMAGE);
    collect(&daemon);
    assert_eq!(held(&daemon), before);

    // Room that was freed can be had again at once.
    ctr(&daemon, &["images", "rm", "--sync", IMAGE]).ok();
    collect(&daemon);
    assert_eq!(held(&daemon), Vec::<PathBuf>::new());
    import(&daemon, &scratch);
    assert_unharmed(&mut daemon);
    // The disk itself goes with the daemon's folder.
    assert_eq!(leaks::mounts_below(&root), [root]);
}
