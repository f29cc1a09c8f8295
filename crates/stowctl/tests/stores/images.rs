//! `images`, and the short `pull`.

use stowd_testing::Version;
use stowd_testing::image::{Compression, Image, Index, Layer};
use stowd_testing::process::Run;

use crate::{IMAGE, rig};

#[test]
fn tables_are_ctrs() {
    let rig = rig!();
    rig.same(&["images", "ls"]);
    rig.same(&["images", "check"]);
    rig.import();
    assert!(rig.same(&["images", "ls"]).contains(IMAGE));
    rig.same(&["image", "list", "-q"]);
    rig.same(&["i", "ls", "name==nothing"]);
    assert!(rig.same(&["images", "check"]).contains("complete (2/2)"));
    rig.same(&["images", "check", "-q"]);
    rig.same(&["images", "check", "--snapshotter", "native"]);
    rig.same(&["images", "inspect", IMAGE]);
    rig.same(&["images", "usage", IMAGE]);
    rig.same_failure(&["images", "usage", "--snapshotter", "native", IMAGE]);
    let listed = rig.json(&["images", "ls"]);
    assert_eq!(listed[0]["name"], IMAGE);
    assert_eq!(rig.json(&["images", "check"])[0]["unpacked"], true);
    assert_eq!(rig.json(&["images", "inspect", IMAGE])["name"], IMAGE);
    assert!(rig.json(&["images", "usage", IMAGE])[0]["size"].as_u64().unwrap() > 0);
}

#[test]
fn content_is_shown_as_ctr_does() {
    let rig = rig!();
    rig.import();
    // ctr shows labels in any order.
    let sorted = |said: String| {
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let args = ["images", "inspect", "--content", IMAGE];
    let theirs = rig.daemon.ctr(stowd_testing::Version::V2).args(args).ok();
    assert_eq!(sorted(rig.ok(&args)), sorted(theirs));
}

#[test]
fn names_and_labels() {
    let rig = rig!();
    rig.import();
    let other = "test.example/other:2";
    assert_eq!(rig.ok(&["images", "tag", IMAGE, other, "short"]), format!("{other}\nshort\n"));
    assert_eq!(rig.ok(&["images", "tag", "--force", IMAGE, other]), format!("{other}\n"));
    assert_eq!(rig.ok(&["images", "label", IMAGE, "a=1", "b"]), "a=1,b=true\n");
    assert_eq!(rig.ok(&["images", "label", IMAGE, "a="]), "b=true\n");
    assert_eq!(rig.ok(&["images", "label", IMAGE]), "b=true\n");
    rig.same(&["images", "label", IMAGE, "b=2"]);
    assert_eq!(rig.ok(&["images", "label", "-r", IMAGE, "c=3"]), "c=3\n");
    rig.same(&["images", "ls"]);
    assert!(rig.fails(&["images", "tag", IMAGE, "Not Good"]).contains("hint: "));
    assert_eq!(
        rig.ok(&["images", "tag", "--skip-reference-check", IMAGE, "Not Good"]),
        "Not Good\n"
    );
    assert_eq!(rig.ok(&["images", "rm", "Not Good", "short"]), "Not Good\nshort\n");
    // Not an error: it is gone.
    let gone = rig.run(&["images", "rm", "short"]).output();
    assert!(gone.status.success() && gone.stdout.is_empty());
    assert_eq!(rig.ok(&["images", "del", "--sync", IMAGE, other]), format!("{IMAGE}\n{other}\n"));
    assert_eq!(rig.ok(&["content", "ls", "-q"]), "");
}

#[test]
fn prune_spares_what_containers_use() {
    let rig = rig!();
    rig.import();
    rig.ok(&["images", "tag", IMAGE, "test.example/used:1"]);
    rig.daemon
        .ctr(stowd_testing::Version::V2)
        .args(["containers", "create", "test.example/used:1", "c", "true"])
        .ok();
    rig.ok(&["images", "prune"]);
    assert_eq!(rig.ok(&["images", "ls", "-q"]).lines().count(), 2);
    rig.ok(&["images", "prune", "--all"]);
    assert_eq!(rig.ok(&["images", "ls", "-q"]), "test.example/used:1\n");
    rig.daemon.ctr(stowd_testing::Version::V2).args(["containers", "rm", "c"]).ok();
}

#[test]
fn archives_go_out_and_come_in() {
    let rig = rig!();
    rig.import();
    let before = rig.ok(&["content", "ls", "-q"]);
    let archive = rig.path("out.tar");
    assert!(rig.ok(&["images", "export", &archive, IMAGE]).starts_with("Completed export\t"));
    // Standard output is the archive and nothing else.
    let piped = rig.run(&["images", "export", "-", IMAGE]).output();
    assert!(piped.status.success());
    assert_eq!(piped.stdout, std::fs::read(&archive).unwrap());
    rig.ok(&["images", "rm", "--sync", IMAGE]);
    let said = rig.ok(&["images", "import", &archive]);
    assert!(said.contains("Completed import") && said.contains("elapsed: "), "{said}");
    rig.same(&["images", "ls"]);
    rig.ok(&["images", "rm", "--sync", IMAGE]);
    let summary = rig.run(&["--json", "images", "import", "-"]).input(piped.stdout).ok();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["targets"][0]["name"], IMAGE);
    assert!(before.lines().all(|digest| rig.ok(&["content", "ls", "-q"]).contains(digest)));
    rig.ok(&["images", "import", "--base-name", "test.example/base", "--no-unpack", &archive]);
    rig.ok(&[
        "images",
        "import",
        "--index-name",
        "test.example/index:1",
        "--label",
        "a=1",
        &archive,
    ]);
    assert!(rig.same(&["images", "ls"]).contains("a=1"));
}

#[test]
fn docker_archives_come_in() {
    let rig = rig!();
    let archive = rig.scratch.join("docker.tar");
    Image::packed(vec![Layer::busybox().pack(Compression::Plain)])
        .write_docker_archive(&archive, "test.example/docker:1");
    rig.ok(&["images", "import", archive.to_str().unwrap()]);
    assert!(rig.same(&["images", "ls"]).contains("test.example/docker:1"));
    assert!(rig.same(&["images", "check"]).contains("true"));
}

#[test]
fn an_image_is_mounted() {
    let rig = rig!();
    rig.import();
    let target = rig.path("mnt");
    std::fs::create_dir(&target).unwrap();
    let said = rig.ok(&["images", "mount", IMAGE, &target]);
    assert!(said.starts_with("sha256:") && said.ends_with(&format!("\n{target}\n")), "{said}");
    assert!(rig.scratch.join("mnt/bin/busybox").exists());
    assert!(std::fs::write(rig.scratch.join("mnt/new"), "x").is_err(), "it is read-only");
    assert_eq!(rig.ok(&["images", "unmount", "--rm", &target]), format!("{target}\n"));
    assert!(!rig.scratch.join("mnt/bin").exists());
    rig.ok(&["images", "mount", "--rw", IMAGE, &target]);
    std::fs::write(rig.scratch.join("mnt/new"), "x").unwrap();
    rig.ok(&["images", "unmount", "--rm", &target]);
    assert_eq!(rig.ok(&["snapshots", "ls"]).lines().count(), 2);
    assert_eq!(rig.ok(&["leases", "ls", "-q"]), "");
    rig.fails(&["images", "mount", IMAGE, &rig.path("absent")]);
}

#[test]
fn images_are_converted_as_ctr_does() {
    let rig = rig!();
    let image = Image::of(&[Layer::busybox(), Layer::new().file("etc/motd", "ahoy <&>\n")]);
    let archive = rig.scratch.join("docker.tar");
    image.write_docker_archive(&archive, "test.example/docker:1");
    rig.ok(&["images", "import", archive.to_str().unwrap()]);
    let archive = rig.scratch.join("index.tar");
    Index::of([image.clone(), image.architecture("s390x")])
        .write_oci_archive(&archive, "test.example/index:1");
    rig.ok(&["images", "import", "--all-platforms", archive.to_str().unwrap()]);
    for (source, flags) in [
        ("test.example/docker:1", &["--oci"][..]),
        ("test.example/docker:1", &["--uncompress"]),
        ("test.example/index:1", &["--uncompress", "--oci", "--all-platforms"]),
        ("test.example/index:1", &["--uncompress", "--platform", "linux/s390x"]),
        ("test.example/index:1", &[]),
    ] {
        let convert = |program: fn(&crate::Rig) -> Run, target: &str| {
            let args = [&["images", "convert"], flags, &[source, target]].concat();
            program(&rig).args(args).ok()
        };
        let ours = convert(|rig| rig.daemon.stowctl(), "test.example/ours:1");
        let theirs = convert(|rig| rig.daemon.ctr(Version::V2), "test.example/theirs:1");
        assert_eq!(ours, theirs, "{source} {flags:?}");
        // Garbage collection leaves what belongs to it.
        rig.ok(&["images", "rm", "--sync", "test.example/theirs:1"]);
        if !flags.contains(&"linux/s390x") {
            let check = rig.same(&["images", "check", "name==test.example/ours:1"]);
            assert!(check.contains("complete"), "{check}");
        }
    }
    rig.ok(&["images", "convert", "test.example/docker:1", "test.example/docker:1", "--oci"]);
    let target = rig.json(&["images", "convert", "test.example/docker:1", "test.example/x:1"]);
    assert_eq!(target["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    rig.same_failure(&["images", "convert", "one"]);
    rig.same_failure(&["images", "convert", "one", "two"]);
}
