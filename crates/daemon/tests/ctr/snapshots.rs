//! Snapshots.

use stowd_testing::transcript::Session;

use crate::import;

crate::scripts!(show_and_change, mounts_of_a_snapshot, two_snapshotters, snapshots_in_detail,);

/// Returns the name of the only committed snapshot.
fn top(it: &Session<'_>) -> String {
    let listed = it.command(&["snapshots", "ls"]).ok();
    let line = listed.lines().find(|line| line.contains("Committed")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

fn show_and_change(it: &mut Session<'_>) {
    it.ctr(&["snapshots", "ls"]);
    import(it);
    let top = top(it);
    it.ctr(&["snapshots", "ls"]);
    info_of_a_layer(it, &top);
    it.ctr(&["snapshots", "usage"]);
    it.ctr(&["snapshots", "prepare", "work", &top]);
    it.ctr(&["snapshots", "view", "look", &top]);
    // No label and no lease keeps it: garbage collection may have been faster.
    it.command(&["snapshots", "rm", "look"]).output();
    it.fails(&["snapshots", "prepare", "work", &top]);
    it.ctr(&["snapshots", "ls"]);
    it.ctr(&["snapshots", "tree"]);
    it.ctr(&["snapshots", "commit", "done", "work"]);
    it.ctr(&["snapshots", "label", "done", "a=1"]);
    it.ctr(&["snapshots", "info", "done"]);
    it.ctr(&["snapshots", "prepare", "child", "done"]);
    it.ctr(&["snapshots", "tree"]);
    it.fails(&["snapshots", "rm", "done"]);
    it.ctr(&["snapshots", "rm", "child"]);
    it.ctr(&["snapshots", "rm", "done"]);
    it.ctr(&["snapshots", "ls"]);
    it.fails(&["snapshots", "info", "done"]);
    it.fails(&["snapshots", "prepare", "work", "absent"]);
}

/// Records a layer's snapshot without what containerd 2.4 labels it with and 2.1 does not yet.
fn info_of_a_layer(it: &mut Session<'_>, name: &str) {
    let args = ["snapshots", "info", name];
    let mut info: serde_json::Value = serde_json::from_str(&it.quiet(&args)).unwrap();
    // An older client unpacks by itself and sets none.
    if let Some(labels) = info["Labels"].as_object_mut() {
        labels.remove("containerd.io/snapshot/diff-id");
    }
    it.note(&args, &format!("{info:#}"));
}

fn mounts_of_a_snapshot(it: &mut Session<'_>) {
    import(it);
    let top = top(it);
    it.ctr(&["snapshots", "prepare", "work", &top]);
    let target = it.folder.join("mnt");
    std::fs::create_dir(&target).unwrap();
    let path = target.to_string_lossy().into_owned();
    // The command lines that it prints do work. Which numbers the folders bear is nobody's promise.
    let commands = it.quiet(&["snapshots", "mounts", &path, "work"]);
    assert!(commands.starts_with("mount -t overlay"), "{commands}");
    stowd_testing::process::Run::program("sh").args(["-c", &commands]).ok();
    std::fs::write(target.join("new"), "x").unwrap();
    stowd_testing::process::Run::program("umount").args([&path]).ok();
    let usage = it.ctr(&["snapshots", "usage", "work"]);
    assert!(usage.contains('2') || usage.contains('3'), "{usage}");
    assert!(!it.quiet(&["snapshots", "diff", &top, "work"]).is_empty(), "an empty diff");
    it.ctr(&["snapshots", "rm", "work"]);
}

fn two_snapshotters(it: &mut Session<'_>) {
    it.ctr(&["snapshots", "--snapshotter", "native", "prepare", "n"]);
    it.ctr(&["snapshots", "prepare", "o"]);
    it.ctr(&["snapshots", "--snapshotter", "native", "ls"]);
    it.ctr(&["snapshots", "ls"]);
    it.fails(&["snapshots", "--snapshotter", "absent", "ls"]);
    it.ctr(&["snapshots", "--snapshotter", "native", "rm", "n"]);
    it.ctr(&["snapshots", "rm", "o"]);
}

fn snapshots_in_detail(it: &mut Session<'_>) {
    import(it);
    it.tries(&["snapshots", "prepare", "base"]);
    keep(it, "base");
    it.tries(&["snapshots", "usage", "base"]);
    it.tries(&["snapshots", "usage", "-b", "base"]);
    it.tries(&["snapshots", "info", "base"]);
    it.tries(&["snapshots", "view", "look", "base"]);
    it.tries(&["snapshots", "commit", "base", "base"]);
    it.tries(&["snapshots", "commit", "one", "base"]);
    keep(it, "one");
    it.tries(&["snapshots", "commit", "two", "base"]);
    it.tries(&["snapshots", "commit", "two", "one"]);
    it.tries(&["snapshots", "view", "look", "one"]);
    keep(it, "look");
    it.tries(&["snapshots", "commit", "two", "look"]);
    it.tries(&["snapshots", "info", "look"]);
    it.tries(&["snapshots", "label", "one", "a=1", "b=2"]);
    it.tries(&["snapshots", "label", "one", "a="]);
    it.tries(&["snapshots", "info", "one"]);
    it.tries(&["snapshots", "label", "absent", "a=1"]);
    it.tries(&["snapshots", "prepare", "top", "one"]);
    keep(it, "top");
    it.tries(&["snapshots", "tree"]);
    it.tries(&["snapshots", "usage", "absent"]);
    it.tries(&["snapshots", "mounts", "/mnt", "absent"]);
    it.tries(&["snapshots", "mounts", "/mnt", "one"]);
    it.tries(&["snapshots", "diff", "absent"]);
    it.tries(&["snapshots", "diff", "--media-type", "application/nonsense", "one", "top"]);
    it.tries(&["snapshots", "prepare"]);
    it.tries(&["snapshots", "rm"]);
    it.tries(&["snapshots", "unpack", "nonsense"]);
    it.tries(&["snapshots", "rm", "look", "top", "one"]);
    it.tries(&["snapshots", "ls"]);
}

/// Keeps a snapshot from the garbage collector.
fn keep(it: &Session<'_>, name: &str) {
    it.quiet(&["snapshots", "label", name, "containerd.io/gc.root=1"]);
}
