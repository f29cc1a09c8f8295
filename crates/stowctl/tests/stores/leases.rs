//! `leases`.

use crate::rig;

#[test]
fn leases_come_and_go() {
    let rig = rig!();
    rig.same(&["leases", "ls"]);
    assert_eq!(rig.ok(&["leases", "create", "--id", "held", "-x", "0", "a=1", "b="]), "held\n");
    rig.same(&["leases", "ls"]);
    rig.same_failure(&["leases", "create", "--id", "held", "--expires", "0s"]);
    let made = rig.ok(&["leases", "create", "--expires", "1h30m"]);
    rig.same(&["leases", "ls"]);
    rig.same(&["leases", "ls", "-q"]);
    rig.same(&["leases", "ls", "id==held"]);
    let listed = rig.json(&["leases", "ls", "id==held"]);
    assert_eq!(listed[0]["labels"], serde_json::json!({ "a": "1" }));
    assert_eq!(rig.ok(&["leases", "rm", "--sync", "held", made.trim()]), format!("held\n{made}"));
    rig.same_failure(&["leases", "rm", "held"]);
    rig.same(&["leases", "ls"]);
}
