//! Unmodified `ctr` against stowd: each script is run against containerd too, and must read the same.
//!
//! A script asserts the few things that make it worth running; the comparison does the rest, down to
//! the columns of tables. Where stowd is meant to differ, the script says so and compares less.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use stowd_testing::transcript::Session;

mod basics;
mod containers;
mod content;
mod errors;
mod events;
mod images;
mod run;
mod snapshots;
mod tasks;

/// Makes a test for each version of `ctr` from each script.
macro_rules! scripts {
    ($($script:ident),+ $(,)?) => {
        mod ctr_1_6 {
            $(#[test]
            fn $script() {
                stowd_testing::need!(root, clients, overlayfs, stowd);
                stowd_testing::transcript::side_by_side(stowd_testing::Version::V1_6, super::$script);
            })+
        }
        mod ctr_2 {
            $(#[test]
            fn $script() {
                stowd_testing::need!(root, clients, overlayfs, stowd);
                stowd_testing::transcript::side_by_side(stowd_testing::Version::V2, super::$script);
            })+
        }
    };
}
use scripts;

/// The name of the image that [`import`] brings.
const IMAGE: &str = "test.example/busybox:1";

/// Imports the busybox image.
fn import(it: &mut Session<'_>) {
    let archive = it.folder.join("busybox.tar");
    stowd_testing::image::Image::busybox().write_oci_archive(&archive, IMAGE);
    it.quiet(&["images", "import", archive.to_str().unwrap()]);
    // The archive's own index has served.
    collect(it);
}

/// Collects what nothing refers to, so that it does not depend on the clock whether it is there.
fn collect(it: &Session<'_>) {
    it.quiet(&["leases", "create", "--id", "collect"]);
    it.quiet(&["leases", "rm", "--sync", "collect"]);
}

/// Starts a container in the background that runs a shell script.
fn start(it: &mut Session<'_>, id: &str, script: &str) {
    it.ctr(&["run", "-d", IMAGE, id, "/bin/sh", "-c", script]);
}

/// Waits until `ctr tasks ls` shows a task in a state.
fn until(it: &mut Session<'_>, id: &str, state: &str) {
    let mut listed = String::new();
    let seen = stowd_testing::process::wait_for(|| {
        listed = it.quiet(&["tasks", "ls"]);
        listed.lines().any(|line| line.starts_with(id) && line.contains(state))
    });
    assert!(seen, "{id} is not {state}:\n{listed}");
}
