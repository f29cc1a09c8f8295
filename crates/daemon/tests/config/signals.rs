//! Signals that a running daemon heeds.

use std::fs;

use rustix::process::Signal;
use stowd_testing::process::wait_for;
use stowd_testing::{Daemon, Scratch, Version, need};

/// Adds lines to the daemon's configuration, in place of those added before.
fn configure(scratch: &Scratch, lines: &str) {
    let path = scratch.join("stowd/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("\n# added").unwrap_or((&text, ""));
    fs::write(&path, format!("{before}\n# added\n{lines}")).unwrap();
}

#[test]
fn a_hangup_reloads_what_can_change() {
    need!(root, clients, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let says = |daemon: &Daemon, what: &str| wait_for(|| daemon.log().contains(what));

    configure(
        &scratch,
        "[debug]\nlevel = 'debug'\n[cgroup]\npath = '/nowhere'\n[plugins.'io.containerd.transfer.v1.local']\nconfig_path = '/hosts'\n",
    );
    daemon.signal(Signal::HUP);
    assert!(says(&daemon, "configuration reloaded"), "{}", daemon.log());
    let log = daemon.log();
    let line = |what: &str| log.lines().find(|line| line.contains(what)).unwrap().to_owned();
    let reloaded = line("configuration reloaded");
    assert!(reloaded.contains("debug.level"), "{reloaded}");
    assert!(
        reloaded.contains("plugins.'io.containerd.transfer.v1.local'.config_path"),
        "{reloaded}"
    );
    let later = line("take effect after a restart");
    assert!(later.contains("cgroup.path") && !later.contains("debug.level"), "{later}");

    // The level is in effect: a collection that found something tells so for debugging.
    daemon.ctr(Version::V2).args(["content", "ingest", "k"]).input("unwanted").ok();
    daemon.ctr(Version::V2).args(["leases", "create", "--id", "collect"]).ok();
    daemon.ctr(Version::V2).args(["leases", "rm", "--sync", "collect"]).ok();
    assert!(says(&daemon, "collected garbage"), "{}", daemon.log());

    // What is wrong changes nothing, and is said.
    configure(&scratch, "[debug]\nlevel = 'loud'\n");
    daemon.signal(Signal::HUP);
    assert!(says(&daemon, "configuration not reloaded"), "{}", daemon.log());
    configure(&scratch, "[debug]\nlevel = 5\n");
    daemon.signal(Signal::HUP);
    assert!(says(&daemon, "debug.level must be a string"), "{}", daemon.log());
    assert!(daemon.is_running());
    daemon.ctr(Version::V2).args(["version"]).ok();
}

#[test]
fn user_1_tells_what_the_daemon_does() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let archive = scratch.join("busybox.tar");
    stowd_testing::image::Image::busybox().write_oci_archive(&archive, "test.example/busybox:1");
    let ctr = |args: &[&str]| daemon.ctr(Version::V2).args(args).ok();
    ctr(&["images", "import", archive.to_str().unwrap()]);
    ctr(&["run", "-d", "--null-io", "test.example/busybox:1", "c", "sleep", "1000"]);
    let path = std::env::temp_dir().join(format!("containerd.{}.stacks.log", daemon.pid()));
    daemon.signal(Signal::USR1);
    let container = format!("container {}/c: pid", daemon.namespace());
    let told = wait_for(|| fs::read_to_string(&path).is_ok_and(|text| text.contains(&container)));
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(&path);
    assert!(told, "{text}\n{}", daemon.log());
    for what in ["thread ", "\"stowd\"", "tasks alive", "open descriptors"] {
        assert!(text.contains(what), "{what} is not in:\n{text}");
    }
    assert!(wait_for(|| daemon.log().contains("dump written")), "{}", daemon.log());
    assert!(daemon.log().contains(&container));
    assert!(daemon.is_running());
}
