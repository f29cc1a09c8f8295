//! Terminals.

use serde_json::json;

use crate::case::compare;

const ASK: &str = "$b tty; $b stty size; $b stty -a; $b stat -c '%n %A %u %g %t:%T' /dev/console /dev/pts/0; \
                   $b readlink /proc/$$/fd/0; $b test -t 2 && echo terminal";

#[test]
fn a_terminal_with_a_size() {
    compare(|case| {
        case.spec["process"]["terminal"] = json!(true);
        case.spec["process"]["consoleSize"] = json!({ "height": 40, "width": 100 });
        case.more = ASK.into();
    });
}

#[test]
fn a_users_terminal_over_a_read_only_root() {
    compare(|case| {
        case.spec["process"]["terminal"] = json!(true);
        case.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        case.spec["root"]["readonly"] = json!(true);
        case.more = ASK.into();
    });
}

#[test]
fn a_terminal_of_one_more_process() {
    compare(|case| {
        let mut process = case.spec["process"].clone();
        process["terminal"] = json!(true);
        process["consoleSize"] = json!({ "height": 11, "width": 22 });
        case.exec = Some(process);
        case.more = ASK.into();
    });
}

#[test]
fn a_terminal_in_a_user_namespace() {
    compare(|case| {
        crate::namespaces::mapped(case);
        case.spec["process"]["terminal"] = json!(true);
        case.more = ASK.into();
    });
}
