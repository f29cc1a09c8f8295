//! `stowctl` against stowd: what is printed must be what an unmodified `ctr` prints of the same daemon.
//!
//! A group of commands is a module. [`Rig::same`] runs a command with both programs; what only
//! stowctl does (`--json`, hints, short names) is looked at by itself.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use stowd_testing::image::Image;
use stowd_testing::process::Run;
use stowd_testing::{Daemon, Scratch, Version};

mod content;
mod daemon;
mod failures;
mod images;
mod leases;
mod registries;
#[path = "../../../testing/tests/shims/sandbox.rs"]
#[allow(dead_code, reason = "some of it is for other tests")]
mod sandbox_shim;
mod sandboxes;
mod snapshots;

/// The name of the image that [`Rig::import`] brings.
const IMAGE: &str = "test.example/busybox:1";

/// A daemon of the test's own.
struct Rig {
    daemon: Daemon,
    scratch: Scratch,
}

/// Leaves the test where the machine lacks what it needs, else makes a [`Rig`].
macro_rules! rig {
    () => {{
        stowd_testing::need!(root, clients, overlayfs, stowd);
        crate::Rig::new()
    }};
}
use rig;

impl Rig {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self { daemon: Daemon::stowd(&scratch), scratch }
    }

    /// A stowctl command line.
    fn run(&self, args: &[&str]) -> Run {
        self.daemon.stowctl().args(args)
    }

    /// What a command prints that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// What a command prints as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let said = self.ok(&[&["--json"], args].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}:\n{said}"))
    }

    /// What a command prints on standard error that must fail with status 1 and print nothing else.
    fn fails(&self, args: &[&str]) -> String {
        failure(self.run(args), args)
    }

    /// Runs a command with both programs, which must print the same; returns it.
    fn same(&self, args: &[&str]) -> String {
        // Ages go on: two runs of ctr that agree have no change between them.
        for _ in 0..10 {
            let before = self.daemon.ctr(Version::V2).args(args).ok();
            let said = self.ok(args);
            if before == self.daemon.ctr(Version::V2).args(args).ok() {
                assert_eq!(said, before, "{args:?}");
                return said;
            }
        }
        panic!("ctr {args:?} says something else each time");
    }

    /// As [`Self::same`], for a command that must fail; hints are stowctl's own.
    fn same_failure(&self, args: &[&str]) -> String {
        let theirs = failure(self.daemon.ctr(Version::V2).args(args), args);
        let ours = self.fails(args);
        let plain: Vec<&str> = ours.lines().filter(|line| !line.starts_with("hint: ")).collect();
        assert_eq!(
            plain.join("\n").replacen("stowctl: ", "", 1),
            theirs.trim_end().replacen("ctr: ", "", 1),
            "{args:?}"
        );
        ours
    }

    /// Writes an archive with the busybox image, and imports it.
    fn import(&self) {
        let archive = self.archive("busybox.tar");
        self.ok(&["images", "import", archive.to_str().unwrap()]);
        // The archive's own index has served; whether it is still there must not depend on the clock.
        self.ok(&["leases", "create", "--id", "collect"]);
        self.ok(&["leases", "rm", "--sync", "collect"]);
    }

    fn archive(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        Image::busybox().write_oci_archive(&path, IMAGE);
        path
    }

    fn path(&self, name: &str) -> String {
        text(&self.scratch.join(name))
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn failure(run: Run, args: &[&str]) -> String {
    let output = run.output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?} printed data");
    said
}
