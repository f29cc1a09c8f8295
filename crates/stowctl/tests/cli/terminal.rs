//! On a terminal.

use std::process::Command;

use stowd_testing::need;
use stowd_testing::process::Run;

use crate::{FOREVER, IMAGE, It};

/// Runs a line of shell on a terminal of its own; `$stowctl` and `$ctr` are the program.
fn on_terminal(it: &It, line: &str) -> String {
    let common = format!("-a {} -n {}", it.daemon.socket().display(), it.daemon.namespace());
    let stowctl = stowd_testing::daemon::programs().join("stowctl");
    let line = format!(
        "stowctl='{} {common}'; ctr='{} {common}'; stty rows 40 cols 100; {line}",
        stowctl.display(),
        it.path("ctr").display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    // The terminal of `script` echoes the end of our input.
    Run::new(command).ok().replace('\r', "").replace("^@", "").replace("^D\u{8}\u{8}", "")
}

#[test]
fn a_container_has_a_terminal_of_our_size() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let said = on_terminal(&it, "$stowctl run -t busybox sh -c 'tty; stty size'");
    assert!(said.contains("/dev/pts/0\n40 100\n"), "{said}");
    let said = on_terminal(&it, &format!("$ctr run --rm -t {IMAGE} c tty"));
    assert!(said.contains("/dev/pts/0"), "{said}");
    it.start("d", FOREVER);
    let said = on_terminal(&it, "$stowctl t exec -t d sh -c 'sleep 0.2; stty size'");
    assert!(said.contains("40 100\n"), "{said}");
    it.stowctl(&["t", "rm", "-f", "d"]).ok();
    it.stowctl(&["c", "rm", "d"]).ok();
    it.nothing_is_left();
}

#[test]
fn the_size_follows() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let wait = "while [ \"$(stty size)\" != \"30 70\" ]; do sleep 0.05; done; echo followed";
    let line = format!(
        "(sleep 1; stty rows 30 cols 70 </dev/tty) & $stowctl run -t busybox sh -c '{wait}'"
    );
    let said = on_terminal(&it, &line);
    assert!(said.contains("followed"), "{said}");
    it.nothing_is_left();
}

#[test]
fn the_terminal_is_as_it_was() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let check = "test \"$before\" = \"$(stty -g)\" && echo restored";
    for command in [
        "$stowctl run -t busybox sh -c 'exit 3'",
        "$stowctl run -t busybox /absent",
        "$stowctl --timeout 500ms run -t busybox sleep 1000",
        "(sleep 0.5; kill -TERM $(cat pid)) & sh -c 'echo $$ >pid; exec $0 run -t busybox sh -c \"trap \\\"exit 1\\\" TERM; while :; do sleep 0.1; done\"' \"$stowctl\"",
    ] {
        // The last starts the program by a name without blanks.
        let command = command.replace("\"$stowctl\"", "./direct");
        std::fs::write(
            it.path("direct"),
            format!(
                "#!/bin/sh\nexec {} -a {} -n {} \"$@\"\n",
                stowd_testing::daemon::programs().join("stowctl").display(),
                it.daemon.socket().display(),
                it.daemon.namespace()
            ),
        )
        .unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(it.path("direct"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        let folder = it.scratch.path().display();
        let said = on_terminal(&it, &format!("cd {folder}; before=$(stty -g); {command}; {check}"));
        assert!(said.contains("restored"), "{command}: {said}");
    }
    it.nothing_is_left();
}

#[test]
fn without_a_terminal_there_is_a_hint() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let said = it.stowctl(&["run", "-t", "busybox", "true"]).fails();
    assert!(said.contains("is not a terminal") && said.contains("hint: "), "{said}");
    it.nothing_is_left();
}
