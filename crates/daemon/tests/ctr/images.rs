//! Images: how they come, are shown, and go.

use stowd_testing::Version;
use stowd_testing::image::{Compression, Image, Index, Layer};
use stowd_testing::transcript::Session;

use crate::{IMAGE, collect, import};

crate::scripts!(
    import_and_remove,
    pull_from_a_registry,
    pull_one_platform_of_several,
    export_and_import_again,
    docker_archives,
    push_to_a_registry,
    mount_an_image,
    images_in_detail,
    images_of_several_platforms,
    images_with_wishes,
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

fn images_in_detail(it: &mut Session<'_>) {
    import(it);
    if it.client == Version::V2 {
        // Labels come in any order.
        it.ctr_sorted(&["images", "inspect", IMAGE]);
        it.ctr_sorted(&["images", "inspect", "--content", IMAGE]);
        it.ctr_sorted(&["images", "i", IMAGE]);
        it.tries(&["images", "inspect", "absent"]);
    }
    it.tries(&["images", "usage", IMAGE]);
    it.tries(&["images", "usage", "test.example/absent:1"]);
    it.tries(&["images", "check", "-q"]);
    it.tries(&["images", "check", "name==nothing"]);
    it.tries(&["images", "check", "--snapshotter", "native"]);
    it.tries(&["images", "ls", "name~=busybox"]);
    it.tries(&["images", "list", "-q", "labels.none"]);
    it.tries(&["images", "ls", "name=~["]);
    it.tries(&["images", "ls", "nonsense filter"]);
    it.tries(&["images", "label", IMAGE, "a=1", "b=2"]);
    it.tries(&["images", "label", IMAGE, "a="]);
    it.tries(&["images", "ls", "labels.b==2"]);
    it.tries(&["images", "label", "--replace-all", IMAGE, "only=this"]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "label", IMAGE, &format!("{}=1", "k".repeat(5000))]);
    it.tries(&["images", "tag", IMAGE, "Not A Reference"]);
    it.tries(&["images", "tag", IMAGE, "test.example/a:1", "test.example/b:1"]);
    it.tries(&["images", "tag", "test.example/absent:1", "test.example/c:1"]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "rm", "test.example/a:1", "test.example/b:1", "test.example/absent:1"]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "rm"]);
    if it.client == Version::V2 {
        it.tries(&["images", "prune"]);
        it.tries(&["images", "ls", "-q"]);
        it.tries(&["images", "prune", "--all"]);
        it.tries(&["images", "ls", "-q"]);
    }
}

fn images_of_several_platforms(it: &mut Session<'_>) {
    let image = Image::busybox();
    let index = Index::of([image.clone(), image.architecture("s390x")]);
    let reference = it.registry.push_index("deck/platforms", "1", &index);
    it.quiet(&["images", "pull", "--plain-http", "--all-platforms", &reference]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "check"]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["run", "--rm", "--platform", "linux/riscv64", &reference, "c", "true"]);
    let archive = it.folder.join("all.tar").to_string_lossy().into_owned();
    it.tries(&["images", "export", "--all-platforms", &archive, &reference]);
    let one = it.folder.join("one.tar").to_string_lossy().into_owned();
    it.tries(&["images", "export", "--platform", "linux/s390x", &one, &reference]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.quiet(&["images", "import", "--all-platforms", "--no-unpack", &archive]);
    collect(it);
    it.tries(&["images", "ls"]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["snapshots", "ls"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.quiet(&["images", "import", "--platform", "linux/s390x", "--no-unpack", &one]);
    it.tries(&["images", "ls"]);
    // Where nothing matches, the daemon of containerd 2.1 takes everything; ours refuses.
    if it.client == Version::V1_6 {
        let absent = ["images", "pull", "--plain-http", "--platform", "linux/riscv64"];
        it.tries(&[&absent[..], &[&reference]].concat());
    }
    it.tries(&["images", "pull", "--plain-http", "--platform", "not/a/plat/form", &reference]);
    it.tries(&["images", "export", "/no/such/folder/out.tar", &reference]);
    it.tries(&["images", "export", &archive, "test.example/absent:1"]);
    it.tries(&["images", "import", "/no/such/archive.tar"]);
}

fn images_with_wishes(it: &mut Session<'_>) {
    let layers = [Layer::busybox(), Layer::new().file("wish", "1")];
    let reference = it.registry.push("deck/wishes", "1", &Image::of(&layers));
    it.quiet(&["images", "pull", "--plain-http", "--label", "mine=1", &reference]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    let local = if it.client == Version::V2 { "--local" } else { "--plain-http" };
    let native = ["images", "pull", "--plain-http", local, "--snapshotter", "native"];
    it.quiet(&[&native[..], &[&reference]].concat());
    it.tries(&["snapshots", "ls"]);
    it.tries(&["snapshots", "--snapshotter", "native", "ls"]);
    it.tries(&["images", "check", "--snapshotter", "native"]);
    it.tries(&["run", "--rm", "--snapshotter", "native", &reference, "c", "cat", "/wish"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.tries(&["snapshots", "--snapshotter", "native", "ls"]);
    let archive = it.folder.join("two.tar");
    Image::busybox().write_oci_archive(&archive, IMAGE);
    let archive = archive.to_string_lossy().into_owned();
    it.quiet(&["images", "import", "--no-unpack", &archive]);
    it.tries(&["snapshots", "ls"]);
    it.tries(&["images", "check"]);
    it.tries(&["run", "--rm", IMAGE, "c", "echo", "unpacked on the way"]);
    it.tries(&["images", "rm", "--sync", IMAGE]);
    it.quiet(&["images", "import", "--index-name", "test.example/index:1", &archive]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "push", "--plain-http", &format!("{}/deck/none:1", it.registry.host())]);
    // Ours says besides that it was unavailable.
    let said = it.quiet_failure(&["images", "pull", "--plain-http", "127.0.0.1:1/deck/none:1"]);
    assert!(said.contains("connection refused"), "{said}");
    if it.client == Version::V2 {
        it.quiet(&[
            "images",
            "convert",
            "--uncompress",
            "--oci",
            "test.example/index:1",
            "test.example/plain:1",
        ]);
        it.tries(&["images", "ls", "-q"]);
        it.quiet(&["images", "rm", "--sync", "test.example/plain:1"]);
        it.ctr_sorted(&["content", "ls", "-q"]);
    }
}
