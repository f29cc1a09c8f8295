//! `snapshots`.

use stowd_testing::process::Run;

use crate::{Rig, rig};

fn top(rig: &Rig) -> String {
    let listed = rig.json(&["snapshots", "ls"]);
    let listed = listed.as_array().unwrap();
    let top = listed.iter().find(|info| info["Kind"] == "Committed").unwrap();
    top["Name"].as_str().unwrap().to_owned()
}

#[test]
fn tables_are_ctrs() {
    let rig = rig!();
    rig.same(&["snapshots", "ls"]);
    rig.import();
    let top = top(&rig);
    rig.same(&["snapshots", "ls"]);
    rig.same(&["snapshots", "info", &top]);
    rig.same(&["snapshots", "usage"]);
    rig.same(&["snapshots", "usage", "-b", &top]);
    rig.ok(&["snapshots", "prepare", "work", &top]);
    rig.same(&["snapshots", "ls"]);
    rig.same(&["snapshots", "tree"]);
    rig.same(&["snapshots", "mounts", "/some/where/", "work"]);
    rig.ok(&["snapshots", "commit", "done", "work"]);
    assert!(rig.ok(&["snapshots", "label", "done", "a=1"]).starts_with("a=1,"));
    rig.same(&["snapshots", "info", "done"]);
    rig.ok(&["snapshot", "prepare", "child", "done"]);
    rig.same(&["snapshots", "tree"]);
    assert_eq!(rig.json(&["snapshots", "tree"])[0]["children"][0]["children"][0]["key"], "child");
    rig.same_failure(&["snapshots", "rm", "done"]);
    rig.same_failure(&["snapshots", "prepare", "child", "done"]);
    rig.ok(&["snapshots", "rm", "child", "done"]);
    rig.same_failure(&["snapshots", "info", "done"]);
    rig.same_failure(&["snapshots", "prepare", "work", "absent"]);
}

#[test]
fn mounts_are_shown() {
    let rig = rig!();
    rig.import();
    let top = top(&rig);
    let target = rig.path("mnt");
    std::fs::create_dir(&target).unwrap();
    let commands = rig.ok(&["snapshots", "prepare", "-t", &target, "work", &top]);
    assert_eq!(commands, rig.same(&["snapshots", "mounts", &target, "work"]));
    Run::program("sh").args(["-c", &commands]).ok();
    assert!(rig.scratch.join("mnt/bin").exists());
    Run::program("umount").args([&target]).ok();
    assert_eq!(rig.json(&["snapshots", "mounts", &target, "work"])[0]["Type"], "overlay");
    let shown = rig.ok(&["snapshots", "prepare", "--mounts", "other", &top]);
    assert!(shown.starts_with("[\n    {\n        \"Type\": \"overlay\","), "{shown}");
    let viewed = rig.run(&["snapshots", "view", "--mounts", "look", &top]).ok();
    assert!(viewed.contains("\"Target\": \"\""), "{viewed}");
    rig.ok(&["snapshots", "rm", "work", "other"]);
}

#[test]
fn snapshotters_differ() {
    let rig = rig!();
    rig.ok(&["snapshots", "--snapshotter", "native", "prepare", "n"]);
    rig.ok(&["snapshots", "prepare", "o"]);
    rig.same(&["snapshots", "--snapshotter", "native", "ls"]);
    assert_eq!(rig.same(&["snapshots", "ls"]).lines().count(), 2);
    // The flag may stand behind the command as well.
    assert!(rig.ok(&["snapshots", "ls", "--snapshotter", "native"]).contains("n "));
    assert!(rig.same_failure(&["snapshots", "--snapshotter", "absent", "ls"]).contains("hint: "));
    rig.ok(&["snapshots", "--snapshotter", "native", "rm", "n"]);
    rig.ok(&["snapshots", "rm", "o"]);
}

#[test]
fn differences_are_layers() {
    let rig = rig!();
    rig.import();
    let top = top(&rig);
    let target = rig.path("mnt");
    std::fs::create_dir(&target).unwrap();
    let commands = rig.ok(&["snapshots", "prepare", "-t", &target, "work", &top]);
    Run::program("sh").args(["-c", &commands]).ok();
    std::fs::write(rig.scratch.join("mnt/new"), "x").unwrap();
    std::fs::remove_file(rig.scratch.join("mnt/bin/cat")).unwrap();
    Run::program("umount").args([&target]).ok();
    let names = |args: &[&str]| {
        let layer = rig.run(&[&["snapshots", "diff"], args].concat()).output();
        assert!(layer.status.success(), "{}", String::from_utf8_lossy(&layer.stderr));
        Run::program("tar").args(["tz"]).input(layer.stdout).ok()
    };
    let expected = "bin/\nbin/.wh.cat\nnew\n";
    assert_eq!(names(&["work"]), expected);
    assert_eq!(names(&[&top, "work"]), expected);
    rig.ok(&["snapshots", "commit", "done", "work"]);
    assert_eq!(names(&["done"]), expected);
    assert!(names(&[&top]).contains("bin/busybox"));
    // The views that it takes are gone again, and so is the layer's lease.
    assert_eq!(rig.ok(&["snapshots", "ls"]).lines().count(), 3);
    assert_eq!(rig.ok(&["leases", "ls", "-q"]), "");
    rig.fails(&["snapshots", "diff", "absent"]);
}
