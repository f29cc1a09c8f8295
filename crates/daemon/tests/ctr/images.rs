//! Images: how they come, are shown, and go.

use stowd_testing::Version;
use stowd_testing::image::{Compression, Image, Index, Layer};
use stowd_testing::transcript::Session;

use crate::{IMAGE, import};

crate::scripts!(
    import_and_remove,
    pull_from_a_registry,
    pull_one_platform_of_several,
    export_and_import_again,
    docker_archives,
    push_to_a_registry,
    mount_an_image,
);

fn import_and_remove(it: &mut Session<'_>) {
    it.ctr(&["images", "ls"]);
    import(it);
    let listed = it.ctr(&["images", "ls"]);
    assert!(listed.contains(IMAGE) && listed.contains("linux/"), "{listed}");
    it.ctr(&["images", "ls", "-q"]);
    it.ctr(&["images", "ls", "name==nothing"]);
    let checked = it.ctr(&["images", "check"]);
    assert!(checked.contains("complete"), "{checked}");
    it.ctr(&["images", "tag", IMAGE, "test.example/other:2"]);
    it.ctr(&["images", "tag", "--force", IMAGE, "test.example/other:2"]);
    it.ctr(&["images", "label", IMAGE, "a=1", "b=2"]);
    it.ctr(&["images", "ls"]);
    it.ctr(&["images", "rm", IMAGE]);
    assert!(!it.ctr(&["content", "ls", "-q"]).is_empty(), "the other name keeps the content");
    it.ctr(&["images", "rm", "--sync", "test.example/other:2"]);
    it.ctr(&["images", "ls"]);
    assert_eq!(it.ctr(&["content", "ls", "-q"]), "");
    assert_eq!(it.ctr(&["snapshots", "ls"]).lines().count(), 1);
    // Not an error: it is gone.
    it.ctr(&["images", "rm", "test.example/other:2"]);
}

/// The ways that the session's client can pull: 1.6 fetches by itself, newer ones may leave it to
/// the daemon.
fn ways(it: &Session<'_>) -> &'static [&'static [&'static str]] {
    match it.client {
        Version::V1_6 => &[&[]],
        Version::V2 => &[&["--local"], &[]],
    }
}

fn pull(it: &mut Session<'_>, way: &[&str], more: &[&str], reference: &str) {
    let mut args = vec!["images", "pull", "--plain-http"];
    args.extend(way.iter().chain(more));
    args.push(reference);
    it.quiet(&args);
}

fn pull_from_a_registry(it: &mut Session<'_>) {
    let layers = [Layer::busybox(), Layer::new().file("second", "2").file("etc/motd", "ahoy\n")];
    let reference = it.registry.push("deck/pulled", "1", &Image::of(&layers));
    for way in ways(it) {
        pull(it, way, &[], &reference);
        it.ctr(&["images", "ls"]);
        it.ctr(&["images", "check"]);
        it.ctr_sorted(&["content", "ls"]);
        it.ctr(&["snapshots", "tree"]);
        let said = it.ctr(&["run", "--rm", &reference, "c", "cat", "/etc/motd", "/second"]);
        assert_eq!(said, "ahoy\n2");
        it.ctr(&["images", "rm", "--sync", &reference]);
        assert_eq!(it.ctr(&["content", "ls", "-q"]), "");
    }
    let missing = reference.replace(":1", ":absent");
    it.fails(&["images", "pull", "--plain-http", &missing]);
}

fn pull_one_platform_of_several(it: &mut Session<'_>) {
    let image = Image::busybox();
    let index = Index::of([image.clone(), image.architecture("s390x")]);
    let reference = it.registry.push_index("deck/index", "1", &index);
    for way in ways(it) {
        pull(it, way, &[], &reference);
        it.ctr(&["images", "ls"]);
        pull(it, way, &["--platform", "linux/s390x"], &reference);
        it.ctr(&["images", "ls"]);
        it.ctr(&["images", "rm", "--sync", &reference]);
    }
}

fn export_and_import_again(it: &mut Session<'_>) {
    import(it);
    let archive = it.folder.join("out.tar").to_string_lossy().into_owned();
    it.ctr(&["images", "export", &archive, IMAGE]);
    it.ctr(&["images", "rm", "--sync", IMAGE]);
    it.quiet(&["images", "import", &archive]);
    it.ctr(&["images", "ls"]);
    it.ctr(&["images", "check"]);
    assert_eq!(it.ctr(&["run", "--rm", IMAGE, "c", "echo", "again"]), "again\n");
    it.quiet(&["images", "import", "--base-name", "test.example/base", "--digests", &archive]);
    // As of containerd 2.4 the index gets such a name as well.
    assert!(it.quiet(&["images", "ls", "-q"]).contains("test.example/base@sha256:"));
}

fn docker_archives(it: &mut Session<'_>) {
    for (name, compression) in [("plain", Compression::Plain), ("gzip", Compression::Gzip)] {
        let reference = format!("test.example/docker:{name}");
        let archive = it.folder.join(name);
        Image::packed(vec![Layer::busybox().pack(compression)])
            .write_docker_archive(&archive, &reference);
        it.quiet(&["images", "import", archive.to_str().unwrap()]);
        assert_eq!(it.ctr(&["run", "--rm", &reference, "c", "echo", name]), format!("{name}\n"));
    }
    it.ctr(&["images", "ls"]);
}

fn push_to_a_registry(it: &mut Session<'_>) {
    import(it);
    let reference = format!("{}/deck/pushed-by-{}:1", it.registry.host(), it.daemon.pid());
    it.quiet(&["images", "push", "--plain-http", &reference, IMAGE]);
    it.quiet(&["images", "rm", "--sync", IMAGE]);
    pull(it, &[], &[], &reference);
    assert_eq!(it.quiet(&["run", "--rm", &reference, "c", "echo", "back"]), "back\n");
}

fn mount_an_image(it: &mut Session<'_>) {
    import(it);
    let target = it.folder.join("mnt");
    std::fs::create_dir(&target).unwrap();
    let path = target.to_string_lossy().into_owned();
    it.ctr(&["images", "mount", IMAGE, &path]);
    assert!(target.join("bin/busybox").exists());
    it.ctr(&["snapshots", "ls"]);
    it.ctr(&["images", "unmount", "--rm", &path]);
    assert!(!target.join("bin").exists());
    it.ctr(&["snapshots", "ls"]);
}
