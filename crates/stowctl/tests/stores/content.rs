//! `content`.

use stowd_core::Digest;
use stowd_testing::process::{wait_briefly, wait_for};

use crate::rig;

#[test]
fn tables_are_ctrs() {
    let rig = rig!();
    rig.same(&["content", "ls"]);
    rig.import();
    assert_eq!(rig.same(&["content", "ls"]).lines().count(), 4);
    let digests = rig.same(&["content", "ls", "-q"]);
    for digest in digests.lines() {
        let theirs = rig.daemon.ctr(stowd_testing::Version::V2).args(["content", "get", digest]);
        assert_eq!(rig.run(&["content", "get", digest]).output().stdout, theirs.output().stdout);
    }
    rig.same(&["content", "active"]);
    let listed = rig.json(&["content", "ls"]);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(rig.json(&["content", "active"]), serde_json::json!([]));
}

#[test]
fn blobs_come_and_go() {
    let rig = rig!();
    let data = "cargo\n";
    let digest = Digest::of(data.as_bytes()).to_string();
    let ingest = ["content", "ingest", "--expected-digest", &digest, "--expected-size", "6", "one"];
    let label = ["content", "label", &digest, "containerd.io/gc.root=now"];
    // Nothing keeps it before it has its label: garbage collection may be faster.
    let labelled = wait_for(|| {
        rig.run(&ingest).input(data).ok();
        rig.run(&label).output().status.success()
    });
    assert!(labelled, "the blob does not stay");
    // What is there counts as done.
    rig.run(&ingest).input(data).ok();
    assert_eq!(rig.ok(&label), "containerd.io/gc.root=now\n");
    rig.same(&["content", "ls"]);
    assert_eq!(rig.ok(&["content", "get", &digest]), data);
    let edited = rig.ok(&["content", "edit", "--editor", "sed -i s/cargo/ballast/", &digest]);
    assert_eq!(edited.trim(), Digest::of(b"ballast\n").to_string());
    assert!(rig.fails(&["content", "edit", "--editor", "false", &digest]).contains("editor"));
    assert!(rig.ok(&["content", "rm", &digest]).starts_with(&digest));
    assert_eq!(rig.ok(&["content", "rm", &digest]), "");
    rig.same_failure(&["content", "get", &digest]);
}

#[test]
fn a_wrong_digest_leaves_the_ingest() {
    let rig = rig!();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let args = ["content", "ingest", "--expected-digest", &wrong, "one"];
    let said = rig.run(&args).input("cargo\n").output();
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.starts_with("stowctl: failed commit on ref \"one\": "), "{said}");
    // The daemon may need a moment to see that its writer has gone.
    assert!(wait_briefly(|| rig.ok(&["content", "active"]).contains("one")));
    assert!(rig.same(&["content", "active"]).contains("6B"));
    assert_eq!(rig.ok(&["content", "active", "^two"]).lines().count(), 1);
    assert_eq!(rig.ok(&["content", "active", "^o"]).lines().count(), 2);
    assert_eq!(rig.json(&["content", "active"])[0]["offset"], 6);
}

#[test]
fn layers_are_given_up() {
    let rig = rig!();
    rig.import();
    let dry = rig.run(&["content", "prune", "references", "--dry"]).output();
    assert!(String::from_utf8_lossy(&dry.stderr).contains("gc.ref.content.l.0"));
    assert_eq!(rig.ok(&["content", "ls", "-q"]).lines().count(), 3);
    rig.ok(&["content", "prune", "references"]);
    assert_eq!(rig.ok(&["content", "ls", "-q"]).lines().count(), 2);
    assert!(rig.same(&["images", "check"]).contains("incomplete (1/2)"));
}
