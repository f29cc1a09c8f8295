//! The examples, run as a reader would.

use std::process::{Command, Output};

use stowd_testing::daemon::programs;
use stowd_testing::{Daemon, Scratch, image, registry::Registry};

/// Makes the command of an example, with the shim in `PATH`.
fn example(name: &str) -> Command {
    let program = programs().join("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs()).chain(std::env::split_paths(&path));
    let mut command = Command::new(program);
    command.env("PATH", std::env::join_paths(path).unwrap());
    command
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(3), "{stderr}");
    String::from_utf8(stdout).unwrap()
}

const SCRIPT: [&str; 3] = ["sh", "-c", "echo ahoy; exit 3"];

#[test]
fn with_a_daemon() {
    stowd_testing::need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch);
    let image = registry.push("busybox", "1", &image::Image::busybox());
    let daemon = Daemon::stowd(&scratch);
    let mut command = example("run");
    command.arg(daemon.socket()).arg(&image).args(SCRIPT);
    assert_eq!(succeeds(command), "ahoy\n");
}

#[test]
fn without_a_daemon() {
    stowd_testing::need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch);
    let image = registry.push("busybox", "1", &image::Image::busybox());
    // The second time the image is there.
    for _ in 0..2 {
        let mut command = example("embedded");
        command.arg(scratch.join("engine")).arg(&image).args(SCRIPT);
        assert_eq!(succeeds(command), "ahoy\n");
    }
    let state = scratch.join("engine/state");
    assert!(!state.join("engine.sock").exists() && !state.join("engine.sock.ttrpc").exists());
}
