//! A second daemon where one is already.

use std::path::Path;

use stowd_testing::process::Run;
use stowd_testing::{Daemon, Scratch, daemon, need};

use crate::{assert_unharmed, import};

/// Starts a daemon of these places, and returns what it says as it refuses.
fn refused(scratch: &Scratch, root: &Path, state: &Path, socket: &Path) -> String {
    // Without a file of its own it would read the machine's.
    let config = scratch.join("second.toml");
    let places = format!("version = 3\n[ttrpc]\n  address = \"{}.ttrpc\"\n", socket.display());
    std::fs::write(&config, places).unwrap();
    // Were it not to refuse, it would run until somebody ended it.
    Run::program("timeout")
        .args(["10".as_ref(), daemon::programs().join("stowd").as_os_str()])
        .args(["--root".as_ref(), root, "--state".as_ref(), state])
        .args(["--address".as_ref(), socket, "--config".as_ref(), config.as_path()])
        .fails()
}

#[test]
fn a_second_daemon_on_the_same_root_is_refused() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut first = Daemon::stowd(&scratch);
    import(&first, &scratch);
    let said = refused(&scratch, &first.root(), &scratch.folder("other"), &scratch.join("o.sock"));
    assert!(said.contains(&format!("root {} is in use", first.root().display())), "{said}");
    assert_unharmed(&mut first);
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut first = Daemon::stowd(&scratch);
    import(&first, &scratch);
    let (root, state) = (scratch.folder("other/root"), scratch.folder("other/state"));
    let said = refused(&scratch, &root, &state, &first.socket());
    assert!(said.contains(first.socket().to_str().unwrap()), "{said}");
    assert!(said.contains("in use") || said.contains("listens"), "{said}");
    assert_unharmed(&mut first);
}
