//! Versions, plugins, namespaces, leases.

use stowd_testing::transcript::Session;

crate::scripts!(versions, plugins, namespaces, leases);

fn versions(it: &mut Session<'_>) {
    let said = it.quiet(&["version"]);
    for part in ["Client:", "Server:", "Version:", "Revision:", "UUID:"] {
        assert!(said.contains(part), "{said}");
    }
}

fn plugins(it: &mut Session<'_>) {
    let said = it.quiet(&["plugins", "ls"]);
    // The ones that clients look for by name.
    for (kind, id) in [
        ("io.containerd.content.v1", "content"),
        ("io.containerd.snapshotter.v1", "overlayfs"),
        ("io.containerd.snapshotter.v1", "native"),
        ("io.containerd.grpc.v1", "tasks"),
        ("io.containerd.grpc.v1", "introspection"),
    ] {
        let found = said.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(kind) && words.next() == Some(id) && line.trim().ends_with("ok")
        });
        assert!(found, "{kind}.{id} is not ok in\n{said}");
    }
    let detailed = it.quiet(&["plugins", "ls", "-d", "id==overlayfs"]);
    assert!(detailed.contains("Type:") && detailed.contains("overlayfs"), "{detailed}");
}

fn namespaces(it: &mut Session<'_>) {
    it.ctr(&["namespaces", "ls"]);
    it.ctr(&["namespaces", "create", "one", "a=1", "b=two"]);
    it.ctr(&["namespaces", "create", "two"]);
    it.fails(&["namespaces", "create", "two"]);
    it.fails(&["namespaces", "create", "not/good"]);
    let listed = it.ctr_sorted(&["namespaces", "ls"]);
    assert!(listed.contains("a=1"), "{listed}");
    it.ctr(&["namespaces", "label", "one", "a=", "c=3"]);
    it.ctr_sorted(&["namespaces", "ls"]);
    it.ctr(&["namespaces", "rm", "two"]);
    it.ctr(&["-n", "one", "images", "ls"]);
    let archive = it.folder.join("busybox.tar");
    stowd_testing::image::Image::busybox().write_oci_archive(&archive, crate::IMAGE);
    it.quiet(&["-n", "one", "images", "import", archive.to_str().unwrap()]);
    // One that holds something cannot go.
    it.fails(&["namespaces", "rm", "one"]);
    it.ctr_sorted(&["namespaces", "ls", "-q"]);
}

fn leases(it: &mut Session<'_>) {
    it.ctr(&["leases", "ls"]);
    it.ctr(&["leases", "create", "--id", "held", "--expires", "0s", "a=1"]);
    it.fails(&["leases", "create", "--id", "held", "--expires", "0s"]);
    let listed = it.ctr(&["leases", "ls"]);
    assert!(listed.contains("held"), "{listed}");
    it.ctr(&["leases", "rm", "held"]);
    it.fails(&["leases", "rm", "held"]);
    it.ctr(&["leases", "ls"]);
}
