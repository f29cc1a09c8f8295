//! The fixtures themselves, against the real programs.

use stowd_core::Digest;
use stowd_testing::gateway::{Gateway, Rules};
use stowd_testing::image::{Image, Index, Layer};
use stowd_testing::registry::{Access, PASSWORD, Transport, USER, fetch_blob};
use stowd_testing::{Daemon, Registry, Scratch, Version, need};

#[test]
fn containerd_runs_an_imported_image() {
    need!(root, clients, overlayfs);
    for version in Version::ALL {
        let scratch = Scratch::new();
        let daemon = Daemon::containerd(version, &scratch);
        let archive = scratch.join("image.tar");
        Image::busybox().write_oci_archive(&archive, "test.example/busybox:1");
        daemon.ctr(version).args(["images", "import"]).args([&archive]).ok();
        let said = daemon
            .ctr(version)
            .args(["run", "--rm", "test.example/busybox:1", "c", "/bin/echo", "ahoy"])
            .ok();
        assert_eq!(said, "ahoy\n");
    }
}

#[test]
fn containerd_imports_a_docker_archive() {
    need!(root, clients, overlayfs);
    let scratch = Scratch::new();
    let daemon = Daemon::containerd(Version::V2, &scratch);
    let archive = scratch.join("image.tar");
    Image::busybox().write_docker_archive(&archive, "test.example/docker:1");
    daemon.ctr(Version::V2).args(["images", "import"]).args([&archive]).ok();
    assert_eq!(
        daemon.ctr(Version::V2).args(["images", "ls", "-q"]).ok(),
        "test.example/docker:1\n"
    );
}

#[test]
fn containerd_pulls_from_the_registry_in_every_way() {
    need!(root, clients, overlayfs);
    let scratch = Scratch::new();
    let daemon = Daemon::containerd(Version::V2, &scratch);
    let image = Image::of(&[Layer::new().file("a", "b")]);
    let index = Index::of([image.clone(), image.clone().architecture("s390x")]);
    let ctr = || daemon.ctr(Version::V2).args(["images", "pull", "--local"]);

    let plain = Registry::start(&scratch);
    let reference = plain.push_index("deck/plain", "1", &index);
    ctr().args(["--plain-http", &reference]).ok();
    assert_eq!(
        fetch_blob(plain.address(), "deck/plain", &image.layers[0].blob.digest),
        Some(image.layers[0].blob.data.clone())
    );
    assert_eq!(fetch_blob(plain.address(), "deck/plain", &Digest::of(b"nothing")), None);

    let tls = Registry::start_with(&scratch, Transport::Tls, Access::Password);
    let reference = tls.push("deck/tls", "1", &image);
    let ca = tls.ca();
    let ca = ca.to_str().unwrap();
    let user = format!("{USER}:{PASSWORD}");
    ctr().args(["--tlscacert", ca, "--user", &user, &reference]).ok();
    let refused = ctr().args(["--tlscacert", ca, &reference.replace(":1", ":2")]).fails();
    assert!(refused.contains("401") || refused.contains("authorization"), "{refused}");

    let rules =
        Rules { tokens: true, user: Some((USER.into(), PASSWORD.into())), ..Rules::default() };
    let gateway = Gateway::start(plain.address(), rules);
    let reference = format!("{}/deck/plain:1", gateway.host());
    ctr().args(["--plain-http", "--user", &user, &reference]).ok();
    assert!(gateway.tokens() > 0, "{:?}", gateway.requests());
}
