//! Limits, as they stand in the container's cgroup.

use serde_json::{Value, json};

use crate::case::{Case, compare};
use crate::peers::Runner;

fn resources(case: &mut Case<'_>, resources: Value) {
    let devices = case.spec["linux"]["resources"]["devices"].take();
    case.spec["linux"]["resources"] = resources;
    case.spec["linux"]["resources"]["devices"] = devices;
}

#[test]
fn memory_limits() {
    compare(|case| {
        resources(
            case,
            json!({ "memory": {
            "limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20, "swappiness": 10,
            "kernel": 32 << 20, "disableOOMKiller": true
        } }),
        );
    });
}

#[test]
fn unlimited_memory() {
    compare(|case| resources(case, json!({ "memory": { "limit": -1, "swap": -1 } })));
}

#[test]
fn memory_without_swap() {
    compare(|case| {
        resources(case, json!({ "memory": { "limit": 50_000_000, "swap": 50_000_000 } }));
    });
}

#[test]
fn cpu_limits() {
    compare(|case| {
        resources(
            case,
            json!({ "cpu": {
            "shares": 512, "quota": 50_000, "period": 200_000, "burst": 10_000, "cpus": "0",
            "mems": "0"
        } }),
        );
        case.not(Runner::Runc1_1, "knows of no bursts");
    });
}

#[test]
fn cpu_at_the_ends_of_its_range() {
    compare(|case| resources(case, json!({ "cpu": { "shares": 2, "quota": -1, "idle": 0 } })));
}

#[test]
fn a_cpu_group_that_is_idle() {
    compare(|case| {
        resources(case, json!({ "cpu": { "idle": 1 } }));
        case.not(Runner::Runc1_1, "knows of no idle groups");
    });
}

#[test]
fn a_limit_on_tasks() {
    compare(|case| {
        resources(case, json!({ "pids": { "limit": 77 } }));
        case.more = "for i in 1 2 3; do $b true & done; wait".into();
    });
}

#[test]
fn no_limit_on_tasks() {
    compare(|case| resources(case, json!({ "pids": { "limit": -1 } })));
}

#[test]
fn block_io() {
    compare(|case| {
        let device = json!([{ "major": 7, "minor": 0, "rate": 1_048_576 }]);
        resources(
            case,
            json!({ "blockIO": {
            "weight": 300, "throttleReadBpsDevice": device, "throttleWriteBpsDevice": device,
            "throttleReadIOPSDevice": device, "throttleWriteIOPSDevice": device
        } }),
        );
    });
}

#[test]
fn cgroup_trees_without_a_namespace() {
    compare(|case| {
        case.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]);
        case.more = "$b ls -l /sys/fs/cgroup | $b awk '{print $1, $9, $11}'; \
                     $b head -1 /sys/fs/cgroup/pids/cgroup.procs; $b mkdir /sys/fs/cgroup/pids/x"
            .into();
    });
}

#[test]
fn cgroup_trees_in_a_namespace() {
    compare(|case| {
        case.namespace("cgroup");
        case.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["ro", "nosuid", "noexec", "nodev"]);
        case.more = "$b ls -l /sys/fs/cgroup | $b awk '{print $1, $9, $11}'; \
                     $b head -1 /sys/fs/cgroup/pids/cgroup.procs; $b mkdir /sys/fs/cgroup/pids/x"
            .into();
    });
}

#[test]
fn writable_cgroup_trees_in_a_namespace() {
    compare(|case| {
        case.namespace("cgroup");
        case.mount("cgroup", "cgroup", "/sys/fs/cgroup", &["rw", "nosuid", "noexec", "nodev"]);
        case.more =
            "$b mkdir /sys/fs/cgroup/pids/x && $b rmdir /sys/fs/cgroup/pids/x && echo made".into();
    });
}

#[test]
fn zeros_that_mean_nothing() {
    compare(|case| {
        resources(
            case,
            json!({
                "memory": { "limit": 0, "swap": 0, "reservation": 0 }, "pids": { "limit": 0 },
                "cpu": { "shares": 0, "quota": 0, "period": 0 }, "blockIO": { "weight": 0 }
            }),
        );
    });
}
