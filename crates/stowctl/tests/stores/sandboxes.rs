//! `sandboxes`.

use crate::rig;
use crate::sandbox_shim::SandboxShim;

#[test]
fn sandboxes_come_and_go() {
    let rig = rig!();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let shim = SandboxShim::new(rig.scratch.path());
    let program = shim.program.to_str().unwrap();
    let config = rig.path("pod.json");
    std::fs::write(&config, r#"{ "ociVersion": "1.0.2", "hostname": "pod" }"#).unwrap();
    rig.same(&["sandboxes", "ls"]);
    // This ctr makes the record, but forgets whom it must ask to start the sandbox.
    let by_ctr = rig.daemon.ctr(stowd_testing::Version::V2);
    by_ctr.args(["sandboxes", "run", "--runtime", program, &config, "theirs"]).output();
    assert_eq!(rig.ok(&["sb", "c", "--runtime", program, &config, "ours"]), "ours\n");
    let listed = rig.same(&["sandboxes", "ls"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    rig.same(&["s", "list", "--filters", "id==ours"]);
    // Both made the same record otherwise.
    let info = |id: &str| {
        let said = rig.ok(&["sandboxes", "info", id]);
        let mut record: serde_json::Value = serde_json::from_str(&said).unwrap();
        for field in ["ID", "CreatedAt", "UpdatedAt", "Sandboxer"] {
            assert!(record[field].is_string(), "{said}");
            record[field] = serde_json::Value::Null;
        }
        record
    };
    assert_eq!(info("ours"), info("theirs"));
    let failed = rig.fails(&["sandboxes", "run", "--runtime", program, &config, "ours"]);
    assert!(failed.contains("already exists"), "{failed}");
    assert_eq!(rig.json(&["sandboxes", "ls"])[0]["id"], "ours");
    let removed = rig.run(&["sandboxes", "rm", "theirs", "nothing", "ours"]).output();
    let said = String::from_utf8(removed.stderr).unwrap();
    assert!(removed.status.success(), "{said}");
    for words in ["deleted: theirs", "failed to load sandbox nothing", "deleted: ours"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(shim.kept(), [""; 0]);
    rig.same(&["sandboxes", "ls"]);
}

#[test]
fn a_sandbox_that_cannot_be_made_leaves_no_record() {
    let rig = rig!();
    let config = rig.path("pod.json");
    rig.fails(&["sandboxes", "run", &config, "s"]);
    std::fs::write(&config, "{").unwrap();
    let said = rig.fails(&["sandboxes", "run", &config, "s"]);
    assert!(said.contains("failed to parse sandbox config"), "{said}");
    std::fs::write(&config, "{}").unwrap();
    // As containerd's, our own shim keeps no sandboxes.
    let said = rig.fails(&["sandboxes", "run", &config, "s"]);
    assert!(said.contains("not implemented"), "{said}");
    assert_eq!(rig.json(&["sandboxes", "ls"]), serde_json::json!([]));
    let said = rig.fails(&["sandboxes", "info", "s"]);
    assert!(said.contains("failed to load sandbox s"), "{said}");
}
