//! Versions, plugins, namespaces, leases.

use stowd_testing::transcript::Session;

use crate::{IMAGE, import};

crate::scripts!(versions, plugins, namespaces, leases, leases_in_detail, namespaces_apart,);

#[test]
fn runtimes() {
    stowd_testing::need!(root, clients, overlayfs, stowd);
    // ctr 1.6 does not ask that.
    stowd_testing::transcript::side_by_side(stowd_testing::Version::V2, inspect_runtimes);
}

fn inspect_runtimes(it: &mut Session<'_>) {
    let said = it.quiet(&["plugins", "inspect-runtime"]);
    for part in ["\"io.containerd.runc.v2\"", "\"Options\": {}", "\"mountOptions\""] {
        assert!(said.contains(part), "{said}");
    }
    it.ctr(&["plugins", "inspect-runtime", "--runtime", "/bin/true"]);
    it.fails(&["plugins", "inspect-runtime", "--runtime", "/bin/false"]);
    it.fails(&["plugins", "inspect-runtime", "--runtime", "io.containerd.none.v1"]);
    it.fails(&["plugins", "inspect-runtime", "--runtime", "misspelt"]);
}

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

fn leases_in_detail(it: &mut Session<'_>) {
    it.tries(&["leases", "create", "--id", "a", "--expires", "0s", "tier=one"]);
    it.tries(&["leases", "create", "--id", "b", "--expires", "1h", "tier=two", "other=x"]);
    it.tries(&["leases", "ls", "-q"]);
    it.tries(&["leases", "ls", "id==a"]);
    it.tries(&["leases", "ls", "labels.tier==two"]);
    it.tries(&["leases", "ls", "id=="]);
    it.tries(&["leases", "create", "--id", "not/good"]);
    it.tries(&["leases", "create", "--id", "c", "--expires", "nonsense"]);
    it.tries(&["leases", "rm", "--sync", "a"]);
    it.tries(&["leases", "rm", "a", "b"]);
    it.tries(&["leases", "ls", "-q"]);
}

fn namespaces_apart(it: &mut Session<'_>) {
    import(it);
    it.tries(&["containers", "create", IMAGE, "one", "sleep", "1000"]);
    it.tries(&["leases", "create", "--id", "mine", "--expires", "0s"]);
    let digests = it.quiet(&["content", "ls", "-q"]);
    let digest = digests.lines().next().unwrap().to_owned();
    const OTHER: &str = "of-another";
    for args in [
        &["images", "ls"][..],
        &["content", "ls"],
        &["containers", "ls"],
        &["snapshots", "ls"],
        &["leases", "ls"],
        &["tasks", "ls"],
        &["content", "get", &digest],
        &["content", "rm", &digest],
        &["content", "label", &digest, "a=1"],
        &["containers", "info", "one"],
        &["containers", "rm", "one"],
        &["tasks", "start", "-d", "one"],
        &["images", "tag", IMAGE, "test.example/other:1"],
        &["leases", "rm", "mine"],
        &["run", "--rm", IMAGE, "c", "true"],
    ] {
        let all: Vec<&str> = ["-n", OTHER].iter().chain(args).copied().collect();
        it.tries(&all);
    }
    it.tries(&["containers", "ls"]);
    it.ctr_sorted(&["content", "ls"]);
}
