//! Who a process is: ids, capabilities, limits, environment, scheduling.

use serde_json::{Value, json};

use crate::case::{Case, compare};
use crate::peers::Runner;

fn capabilities(case: &mut Case<'_>, sets: Value) {
    case.spec["process"]["capabilities"] = sets;
}

#[test]
fn a_default_container() {
    compare(|_| {});
}

#[test]
fn no_capabilities_for_root() {
    compare(|case| capabilities(case, json!({})));
}

#[test]
fn no_capabilities_for_a_user() {
    compare(|case| {
        capabilities(case, json!({}));
        case.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
}

#[test]
fn all_capabilities_that_there_are() {
    const ALL: &[&str] = &[
        "CAP_AUDIT_CONTROL",
        "CAP_AUDIT_READ",
        "CAP_AUDIT_WRITE",
        "CAP_BLOCK_SUSPEND",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_KILL",
        "CAP_LEASE",
        "CAP_LINUX_IMMUTABLE",
        "CAP_MAC_ADMIN",
        "CAP_MAC_OVERRIDE",
        "CAP_MKNOD",
        "CAP_NET_ADMIN",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_RAW",
        "CAP_PERFMON",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYSLOG",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_CHROOT",
        "CAP_SYS_MODULE",
        "CAP_SYS_NICE",
        "CAP_SYS_PACCT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_WAKE_ALARM",
    ];
    compare(|case| {
        // Without CAP_SYS_RESOURCE, which not every machine's root has: runc fails then, stowd warns.
        capabilities(case, json!({ "bounding": ALL, "effective": ALL, "permitted": ALL }));
        case.spec["process"]["noNewPrivileges"] = json!(false);
        case.spec["linux"]["maskedPaths"] = json!([]);
        case.spec["linux"]["readonlyPaths"] = json!([]);
        // The probe may write there then, and what it asks for would happen to the machine.
        case.spec["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev", "ro"]);
    });
}

#[test]
fn ambient_capabilities_of_a_user() {
    compare(|case| {
        let some = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE"];
        capabilities(
            case,
            json!({ "bounding": ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"],
                    "permitted": some, "inheritable": some, "effective": some,
                    "ambient": ["CAP_NET_RAW"] }),
        );
        case.spec["process"]["user"] =
            json!({ "uid": 1000, "gid": 1000, "additionalGids": [4, 20, 1000] });
    });
}

#[test]
fn ambient_capabilities_that_cannot_be_raised() {
    compare(|case| {
        let some = ["CAP_NET_RAW", "CAP_KILL"];
        capabilities(
            case,
            json!({ "bounding": some, "permitted": some, "effective": some, "ambient": some,
                    "inheritable": ["CAP_KILL"] }),
        );
        case.spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
}

#[test]
fn set_user_id_programs_with_new_privileges() {
    compare(|case| {
        case.spec["process"]["noNewPrivileges"] = json!(false);
        case.spec["process"]["user"] = json!({ "uid": 1000, "gid": 100 });
        case.more = "/bin/suid grep -E '^(Uid|Gid|Cap)' /proc/self/status".into();
        let suid = case.rootfs.join("bin/suid");
        std::fs::copy(case.rootfs.join("bin/busybox"), &suid).unwrap();
        std::fs::write(case.rootfs.join("etc/busybox.conf"), "[SUID]\ngrep = ssx root.root\n")
            .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        std::fs::set_permissions(suid, mode).unwrap();
    });
}

#[test]
fn a_user_with_groups_umask_and_home() {
    compare(|case| {
        case.spec["process"]["user"] =
            json!({ "uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [10, 4] });
        case.spec["process"]["cwd"] = json!("/home/user/made/up");
        case.more =
            "$b touch /home/user/made/up/file; $b stat -c '%n %A %u %g' /home/user/made/up/*; \
                     $b stat -c '%n %A %u %g' /home/user/made /home/user/made/up; \
                     echo again > /dev/stdout; echo again > /proc/self/fd/2; $b id"
                .into();
    });
}

#[test]
fn a_user_that_passwd_does_not_know() {
    compare(|case| {
        case.spec["process"]["user"] = json!({ "uid": 4_000_000, "gid": 70_000 });
    });
}

#[test]
fn environment_in_order_with_doubles() {
    compare(|case| {
        case.spec["process"]["env"] =
            json!(["PATH=/bin:/usr/bin", "B=2", "A=1", "EMPTY=", "B=3", "WITH=a=b c", "TERM=dumb"]);
        // It keeps both and leaves it to the C library which one is found; since 1.3 the last wins.
        case.not(Runner::Runc1_1, "doubles are handed over as they are");
    });
}

#[test]
fn environment_with_an_empty_home_and_no_path() {
    compare(|case| {
        case.spec["process"]["env"] = json!(["HOME=", "A=1"]);
        case.not(Runner::Runc1_1, "puts it where the empty one was");
    });
}

#[test]
fn limits_lowered() {
    compare(|case| {
        case.spec["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_NPROC", "soft": 500, "hard": 600 },
            { "type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 65536 },
            { "type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608 },
            { "type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": u64::MAX },
            { "type": "RLIMIT_AS", "soft": 1_000_000_000, "hard": u64::MAX },
            { "type": "RLIMIT_CPU", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_DATA", "soft": 500_000_000, "hard": 500_000_000 },
            { "type": "RLIMIT_RSS", "soft": 1, "hard": 2 },
            { "type": "RLIMIT_LOCKS", "soft": 10, "hard": 10 },
            { "type": "RLIMIT_SIGPENDING", "soft": 10, "hard": 20 },
            { "type": "RLIMIT_MSGQUEUE", "soft": 10, "hard": 20 },
            { "type": "RLIMIT_NICE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_RTTIME", "soft": 1000, "hard": 1000 }
        ]);
        case.more = "ulimit -a".into();
    });
}

#[test]
fn limits_left_alone() {
    compare(|case| case.spec["process"]["rlimits"] = json!([]));
}

#[test]
fn scores_for_the_killer() {
    compare(|case| case.spec["process"]["oomScoreAdj"] = json!(700));
}

#[test]
fn scheduling_and_io_priority() {
    compare(|case| {
        case.spec["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 3 });
        case.spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
        case.more = "$b ionice -p $$; $b nice".into();
        case.not(Runner::Runc1_1, "it knows of neither");
    });
}

#[test]
fn a_personality() {
    compare(|case| {
        case.spec["linux"]["personality"] = json!({ "domain": "LINUX32" });
        case.more = "$b uname -m".into();
        case.not(Runner::Runc1_1, "it knows of none");
    });
}
