//! Tries to break stowd: with too small a disk, a second daemon, a crowd, malformed archives, senseless
//! requests, a shim overwritten.
//!
//! Whatever is asked of it, the daemon says clearly what it will not do, keeps what it held, and the
//! same process goes on running containers. Nothing of what failed stays on the disk.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::path::{Path, PathBuf};

use stowd_testing::image::Image;
use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Scratch, Version, leaks};

mod archives;
mod crowd;
mod disk;
mod program;
mod requests;
mod second;

/// The name of the image that [`import`] brings.
const IMAGE: &str = "test.example/busybox:1";

/// Starts an unmodified `ctr` with these arguments.
fn ctr(daemon: &Daemon, args: &[&str]) -> Run {
    daemon.ctr(Version::V2).args(args)
}

/// Imports the busybox image.
fn import(daemon: &Daemon, scratch: &Scratch) {
    let archive = scratch.join("busybox.tar");
    Image::busybox().write_oci_archive(&archive, IMAGE);
    ctr(daemon, &["images", "import", archive.to_str().unwrap()]).ok();
}

/// Has garbage collected now: the end of a lease that asks for it waits for the collector.
fn collect(daemon: &Daemon) {
    ctr(daemon, &["leases", "create", "--id", "collect"]).ok();
    ctr(daemon, &["leases", "rm", "--sync", "collect"]).ok();
}

/// Asserts that the same process still runs, and still runs a container of [`IMAGE`].
fn assert_unharmed(daemon: &mut Daemon) {
    assert!(daemon.is_running(), "the daemon has ended:\n{}", daemon.log());
    let said = ctr(daemon, &["run", "--rm", IMAGE, "after", "echo", "still here"]).ok();
    assert_eq!(said, "still here\n");
}

/// Returns what a root holds: blobs, ingests and trees, as the disk has them.
fn held(daemon: &Daemon) -> Vec<PathBuf> {
    let root = daemon.root();
    let mut found = entries(&root.join("io.containerd.content.v1.content/blobs"), 2);
    found.extend(entries(&root.join("io.containerd.content.v1.content/ingest"), 1));
    found.extend(entries(&root.join("io.containerd.snapshotter.v1.overlayfs/snapshots"), 1));
    found.sort();
    found
}

/// Asserts that of tasks nothing stays: no bundles, mounts, shims or cgroups.
fn assert_no_tasks_left(daemon: &Daemon) {
    let names =
        leaks::Names { namespaces: vec![daemon.namespace().to_owned()], ..Default::default() };
    let own = |leak: &leaks::Leak| matches!(leak, leaks::Leak::Process(pid, _) if pid.cast_unsigned() == daemon.pid());
    let mut left = Vec::new();
    let none = wait_for(|| {
        left = entries(&daemon.state().join("io.containerd.runtime.v2.task"), 2);
        left.extend(entries(&daemon.root().join("io.containerd.runtime.v2.task"), 2));
        left.extend(leaks::mounts_below(&daemon.state()));
        left.is_empty() && leaks::find(&daemon.state(), &names).iter().all(own)
    });
    let found = leaks::find(&daemon.state(), &names);
    assert!(none, "left behind: {left:#?}\n{found:#?}");
}

/// Returns what is so many folders deep; folders above that depth may stay.
fn entries(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let found: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    if depth == 1 {
        found
    } else {
        found.iter().flat_map(|path| entries(path, depth - 1)).collect()
    }
}
