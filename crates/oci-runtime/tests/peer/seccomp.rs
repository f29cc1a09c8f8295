//! System call filters.

use serde_json::{Value, json};

use crate::case::{Case, compare};
use crate::peers::Runner;

const TRY: &str = "$b mkdir /tmp/x; $b kill -10 $$; $b kill -0 $$ && echo sent; $b unshare true; \
                   $b mount -t tmpfs t /tmp; $b chroot / true && echo chrooted; $b dmesg | $b wc -c; \
                   ( exec $b mknod /tmp/p p ); echo $?; $b sh -c '$0 umount /proc' $b; echo $?; \
                   $b setarch linux32 $b uname -m; $b date -s 2020-01-01; $b hostname x; $b nsenter -t 1 -m true";

fn filter(case: &mut Case<'_>, profile: Value) {
    case.spec["linux"]["seccomp"] = profile;
    case.more = TRY.into();
}

#[test]
fn error_numbers_and_conditions() {
    for no_new_privileges in [true, false] {
        compare(|case| {
            case.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
            filter(
                case,
                json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                    "syscalls": [
                        { "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO",
                          "errnoRet": 28 },
                        { "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                          "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] },
                        { "names": ["chroot"], "action": "SCMP_ACT_LOG" }
                    ]
                }),
            );
        });
    }
}

#[test]
fn killed_by_a_filter() {
    compare(|case| {
        filter(
            case,
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    { "names": ["mknod", "mknodat"], "action": "SCMP_ACT_KILL" },
                    { "names": ["umount2"], "action": "SCMP_ACT_KILL_PROCESS" },
                    { "names": ["chroot"], "action": "SCMP_ACT_TRAP" }
                ]
            }),
        );
    });
}

#[test]
fn containerds_profile() {
    compare(|case| {
        let mut spec = stowd_spec::Spec::linux_default("t", case.id);
        spec.set_default_seccomp();
        let spec = serde_json::to_value(&spec).unwrap();
        let profile = spec["linux"]["seccomp"].clone();
        assert!(profile["syscalls"].is_array(), "{profile}");
        filter(case, profile);
    });
}

#[test]
fn a_list_of_what_is_allowed() {
    compare(|case| {
        let mut spec = stowd_spec::Spec::linux_default("t", case.id);
        spec.set_default_seccomp();
        let spec = serde_json::to_value(&spec).unwrap();
        let mut profile = spec["linux"]["seccomp"].clone();
        profile["defaultErrnoRet"] = json!(22);
        profile["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
        filter(case, profile);
        case.not(Runner::Runc1_1, "takes no flags");
    });
}
