//! The root and what programs find at well-known places.

use serde_json::json;

use crate::case::compare;
use crate::peers::Runner;

#[test]
fn a_read_only_root() {
    compare(|case| case.spec["root"]["readonly"] = json!(true));
}

#[test]
fn a_root_that_is_a_mount_of_its_own() {
    compare(|case| {
        let own = case.data.join("own");
        std::fs::create_dir(&own).unwrap();
        crate::support::make_rootfs(&own);
        stowd_testing::process::Run::program("mount")
            .args(["--bind".as_ref(), own.as_os_str(), own.as_os_str()])
            .ok();
        std::fs::create_dir(own.join("below")).unwrap();
        stowd_testing::process::Run::program("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "below"])
            .args([own.join("below")])
            .ok();
        case.spec["root"]["path"] = json!(own);
        case.spec["root"]["readonly"] = json!(true);
        case.more = "$b touch /below/file && echo written".into();
    });
}

#[test]
fn a_working_directory_that_is_made() {
    compare(|case| {
        case.spec["process"]["cwd"] = json!("/a/new/place");
        std::os::unix::fs::symlink("/tmp", case.rootfs.join("a")).unwrap();
    });
}

#[test]
fn only_what_the_specification_must_have() {
    compare(|case| {
        case.spec["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" }
        ]);
        case.spec["linux"] = json!({
            "cgroupsPath": case.spec["linux"]["cgroupsPath"],
            "namespaces": [{ "type": "mount" }, { "type": "pid" }]
        });
        case.spec["process"] = json!({ "cwd": "/", "user": {}, "env": ["PATH=/bin"] });
        // It leaves such a process all that it has itself; without capabilities is what one gets here.
        case.not(Runner::Runc1_3, "no capabilities named means none taken away");
        // Nothing protects the machine's own then.
        case.spec["mounts"][0]["options"] = json!(["ro"]);
    });
}
