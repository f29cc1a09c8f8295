//! Parts that are services of another daemon.

use stowd_testing::daemon::Kind;
use stowd_testing::image::Image;
use stowd_testing::{Daemon, Scratch, Version, need};

/// Applies a layer through a daemon whose differ is another daemon's, which has the blob too.
fn applies_through(remote: Kind) {
    need!(root, clients, overlayfs, stowd);
    let (scratch, far) = (Scratch::new(), Scratch::new());
    let remote = Daemon::start(remote, &far, "");
    let config = format!(
        "[proxy_plugins.far]\ntype = 'diff'\naddress = '{}'\ncapabilities = ['c']\n\
         [proxy_plugins.far.exports]\nx = 'y'\n\
         [plugins.'io.containerd.service.v1.diff-service']\ndefault = ['far', 'walking']\n",
        remote.socket().display()
    );
    let near = Daemon::start(Kind::Stowd, &scratch, &config);
    let archive = scratch.join("busybox.tar");
    Image::busybox().write_oci_archive(&archive, "test.example/busybox:1");
    let archive = archive.to_str().unwrap();
    near.ctr(Version::V2).args(["images", "import", "--no-unpack", archive]).ok();
    let listed = near.ctr(Version::V2).args(["plugins", "ls", "-d", "id==far"]).ok();
    for what in ["io.containerd.differ.v1", "linux/", "address", "x", "y", "c"] {
        assert!(listed.contains(what), "{what} is not in\n{listed}");
    }
    // The far daemon has no such blob in the namespace, and it is what is asked.
    let layer = near.ctr(Version::V2).args(["content", "ls", "-q"]).ok();
    let unpack =
        |digest: &str| near.ctr(Version::V2).args(["snapshots", "unpack", digest]).output();
    let manifest = manifest(&near);
    let output = unpack(&manifest);
    assert!(!output.status.success(), "unpacked what the far daemon does not have: {layer}");
    // Once it has it, the same works, into trees of the near one.
    let there = remote.ctr(Version::V2).args(["-n", near.namespace()]);
    there.args(["images", "import", "--no-unpack", archive]).ok();
    let output = unpack(&manifest);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ran = ["run", "--rm", "test.example/busybox:1", "c", "echo", "hello"];
    assert_eq!(near.ctr(Version::V2).args(ran).ok(), "hello\n");
}

fn manifest(daemon: &Daemon) -> String {
    let listed = daemon.ctr(Version::V2).args(["images", "ls"]).ok();
    let line = listed.lines().nth(1).unwrap().to_owned();
    line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
}

#[test]
fn stowd_is_a_differ() {
    applies_through(Kind::Stowd);
}

#[test]
fn containerd_is_a_differ() {
    applies_through(Kind::Containerd(Version::V2));
}
