//! Archives and layers that no honest tool would write, brought in by clients.

use std::fs;
use std::path::{Path, PathBuf};

use stowd_testing::image::malformed::{self, Case, ESCAPED, Verdict};
use stowd_testing::image::{Compression, Image, Layer};
use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Scratch, need};

use crate::{assert_unharmed, collect, ctr, held, import};

/// The two clients that import, each with the archive's path.
fn importers(daemon: &Daemon, archive: &Path) -> [Run; 2] {
    let path = archive.to_str().unwrap();
    [ctr(daemon, &["images", "import", path]), daemon.stowctl().args(["images", "import", path])]
}

/// Asserts that a layer's names stayed in the trees that it was written to.
fn assert_contained(daemon: &Daemon, case: &str) {
    assert!(!Path::new("/tmp").join(ESCAPED).exists(), "{case}: /tmp was written to");
    let mut folders = vec![daemon.root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let inside = path.components().any(|part| part.as_os_str() == "fs");
            assert!(inside || entry.file_name() != ESCAPED, "{case}: {}", path.display());
            // Names of a tree's own are its own business.
            if !inside && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
}

/// Asserts that the disk holds this again; trees that are no longer wanted go in the background.
fn assert_holds(daemon: &Daemon, before: &[PathBuf]) {
    wait_for(|| held(daemon) == before);
    assert_eq!(held(daemon), before, "something of them has stayed");
}

fn bring(daemon: &Daemon, scratch: &Scratch, case: &Case) {
    let archive = scratch.join("case.tar");
    let base = Layer::busybox().pack(Compression::Gzip);
    let image = Image::packed(vec![base, case.layer.clone()]);
    image.write_oci_archive(&archive, "test.example/case:1");
    for importer in importers(daemon, &archive) {
        let output = importer.output();
        assert_contained(daemon, case.name);
        if output.status.success() {
            assert_eq!(case.verdict, Verdict::Contained, "{} was accepted", case.name);
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            let clear = ["layer", "tar", "archive"].iter().any(|word| said.contains(word));
            assert!(clear && !said.contains("panic"), "{}: {said}", case.name);
        }
    }
}

/// Does something to a daemon, and asserts that neither it nor its disk has suffered.
fn survives(act: impl FnOnce(&Daemon, &Scratch)) {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    collect(&daemon);
    let before = held(&daemon);
    act(&daemon, &scratch);
    collect(&daemon);
    assert_holds(&daemon, &before);
    assert_unharmed(&mut daemon);
}

fn try_all(cases: &[Case]) {
    survives(|daemon, scratch| {
        for case in cases {
            bring(daemon, scratch, case);
        }
        ctr(daemon, &["images", "rm", "--sync", "test.example/case:1"]).output();
    });
}

#[test]
fn no_layer_reaches_outside() {
    try_all(&malformed::escapes());
}

#[test]
fn broken_layers_are_refused() {
    try_all(&malformed::broken());
}

#[test]
fn bombs_are_survived() {
    try_all(&malformed::bombs(64));
}

#[test]
fn what_is_no_archive_is_refused() {
    survives(bring_no_archives);
}

fn bring_no_archives(daemon: &Daemon, scratch: &Scratch) {
    let whole = fs::read(scratch.join("busybox.tar")).unwrap();
    let path = scratch.join("no.tar");
    let cases: [(&str, Vec<u8>); 4] = [
        ("empty", Vec::new()),
        ("text", b"this is no archive\n".repeat(100)),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        (
            "noise",
            (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect(),
        ),
    ];
    for (name, data) in cases {
        fs::write(&path, data).unwrap();
        for importer in importers(daemon, &path) {
            let said = importer.fails();
            assert!(!said.trim().is_empty() && !said.contains("panic"), "{name}: {said}");
        }
    }
}
