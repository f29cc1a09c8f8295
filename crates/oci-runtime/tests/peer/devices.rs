//! Device nodes, and which of them may be used.

use serde_json::json;

use crate::case::{Case, compare};

const TRY: &str = "for d in /dev/fuse* /dev/loop* /dev/kmsg* /dev/net/* /dev/deep/*/*; do \
                   $b test -e $d || continue; ( : < $d ) && echo $d read; ( : > $d ) && echo $d written; \
                   done; for n in 'c 1 3' 'c 10 229' 'b 7 0' 'c 1 1'; do \
                   $b mknod /tmp/node $n && ( : < /tmp/node ) && echo used $n; $b rm -f /tmp/node; done";

fn device(case: &mut Case<'_>, path: &str, kind: &str, major: i64, minor: i64) {
    let node = json!({ "path": path, "type": kind, "major": major, "minor": minor });
    if case.spec["linux"]["devices"].is_null() {
        case.spec["linux"]["devices"] = json!([]);
    }
    case.push("/linux/devices", node);
}

#[test]
fn nodes_that_may_not_be_used() {
    compare(|case| {
        device(case, "/dev/fuse", "c", 10, 229);
        device(case, "/dev/loop7", "b", 7, 7);
        case.more = TRY.into();
    });
}

#[test]
fn nodes_that_may_be_used_with_owners_and_modes() {
    compare(|case| {
        device(case, "/dev/fuse", "c", 10, 229);
        device(case, "/dev/deep/down/loop", "b", 7, 7);
        device(case, "/dev/pipe", "p", 0, 0);
        case.spec["linux"]["devices"][0]["fileMode"] = json!(0o640);
        case.spec["linux"]["devices"][0]["uid"] = json!(1000);
        case.spec["linux"]["devices"][0]["gid"] = json!(44);
        case.spec["linux"]["devices"][2]["fileMode"] = json!(0o2600);
        case.spec["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            { "allow": true, "type": "b", "major": 7, "access": "r" }
        ]);
        case.more = TRY.into();
    });
}

#[test]
fn all_devices() {
    compare(|case| {
        device(case, "/dev/kmsg2", "c", 1, 11);
        case.spec["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
        case.more = TRY.into();
    });
}

#[test]
fn all_devices_but_some() {
    compare(|case| {
        case.spec["linux"]["resources"]["devices"] = json!([
            { "allow": true, "access": "rwm" },
            { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
            { "allow": false, "type": "b", "major": 7, "minor": 0, "access": "rw" }
        ]);
        case.more = TRY.into();
    });
}

#[test]
fn no_rules_at_all() {
    compare(|case| {
        case.spec["linux"]["resources"] = json!({});
        case.more = TRY.into();
    });
}

#[test]
fn nodes_elsewhere_than_in_dev() {
    compare(|case| {
        device(case, "/tmp/null", "c", 1, 3);
        device(case, "/run/zero", "c", 1, 5);
        case.more =
            "$b stat -c '%n %A %t:%T' /tmp/null /run/zero; echo x > /tmp/null && echo fine".into();
    });
}
