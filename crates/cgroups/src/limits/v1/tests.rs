use std::fs;

use super::*;
use crate::resources::{HugetlbLimit, RdmaLimit, ThrottleDevice, WeightDevice};

/// A directory that stands for every controller's cgroup, with `files` in it.
fn fake(files: &[(&str, &str)]) -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let names = ["cpuset", "memory", "cpu", "pids", "blkio", "hugetlb"];
    let paths = names.iter().map(|name| (*name, dir.path())).collect();
    (dir, paths)
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

#[test]
fn every_limit_lands_in_its_file() {
    let (dir, paths) = fake(&[
        ("cpuset.cpus", ""),
        ("cpuset.mems", ""),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.memsw.limit_in_bytes", ""),
        ("memory.soft_limit_in_bytes", ""),
        ("memory.oom_control", ""),
        ("memory.swappiness", ""),
        ("cpu.shares", ""),
        ("cpu.cfs_period_us", ""),
        ("cpu.cfs_quota_us", ""),
        ("cpu.cfs_burst_us", ""),
        ("cpu.idle", ""),
        ("pids.max", ""),
        ("blkio.bfq.weight", ""),
        ("blkio.bfq.weight_device", ""),
        ("blkio.throttle.read_bps_device", ""),
        ("hugetlb.2MB.limit_in_bytes", ""),
    ]);
    let mut resources = Resources { pids_limit: Some(77), ..Resources::default() };
    resources.memory = Memory {
        limit: Some(100 << 20),
        reservation: Some(50 << 20),
        swap: Some(200 << 20),
        swappiness: Some(10),
        disable_oom_killer: true,
        check_before_update: false,
    };
    resources.cpu = Cpu {
        shares: Some(512),
        quota: Some(5000),
        period: Some(10_000),
        burst: Some(100),
        cpus: "0-1".into(),
        mems: "0".into(),
        idle: Some(0),
        ..Cpu::default()
    };
    resources.block_io.weight = Some(300);
    resources.block_io.weight_device =
        vec![WeightDevice { major: 8, minor: 1, weight: Some(20), leaf_weight: None }];
    resources.block_io.throttle_read_bps =
        vec![ThrottleDevice { major: 8, minor: 0, rate: 1 << 20 }];
    resources.hugetlb = vec![HugetlbLimit { page_size: "2MB".into(), limit: 4 << 20 }];
    set(&paths, &resources).unwrap();
    for (name, text) in [
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        // Written over what was there, byte by byte: a real cgroup file has no such leftover.
        ("memory.memsw.limit_in_bytes", "209715200"),
        ("memory.soft_limit_in_bytes", "52428800"),
        ("memory.oom_control", "1"),
        ("memory.swappiness", "10"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "10000"),
        ("cpu.cfs_quota_us", "5000"),
        ("cpu.cfs_burst_us", "100"),
        ("cpu.idle", "0"),
        ("pids.max", "77"),
        ("blkio.bfq.weight", "300"),
        ("blkio.bfq.weight_device", "8:1 20"),
        ("blkio.throttle.read_bps_device", "8:0 1048576"),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
    ] {
        assert_eq!(read(&dir, name), text, "{name}");
    }
    assert!(read(&dir, "memory.limit_in_bytes").starts_with("104857600"));
}

#[test]
fn nothing_asked_writes_nothing() {
    let (_dir, paths) = fake(&[]);
    let zeros = Resources {
        memory: Memory { limit: Some(0), swap: Some(0), ..Memory::default() },
        cpu: Cpu { shares: Some(0), quota: Some(0), period: Some(0), ..Cpu::default() },
        pids_limit: Some(0),
        ..Resources::default()
    };
    set(&paths, &Resources::default()).unwrap();
    set(&paths, &zeros).unwrap();
}

#[test]
fn nonsense_is_named() {
    let (_dir, paths) = fake(&[("memory.swappiness", "")]);
    let mut swappiness = Resources::default();
    swappiness.memory.swappiness = Some(101);
    let mut shares = Resources::default();
    shares.cpu.shares = Some(1);
    let unified = Resources { unified: vec![("a.b".into(), "1".into())], ..Resources::default() };
    let hugetlb = vec![HugetlbLimit { page_size: "../x".into(), limit: 1 }];
    let page = Resources { hugetlb, ..Resources::default() };
    let device = RdmaLimit { device: "a".into(), hca_handles: Some(1), hca_objects: None };
    let rdma = Resources { rdma: vec![device], ..Resources::default() };
    for (resources, text) in [
        (swappiness, "invalid memory swappiness value: 101 (valid range is 0-100)"),
        (shares, "the minimum allowed cpu-shares is 2"),
        (unified, "invalid configuration: cannot use unified on cgroup v1"),
        (page, "invalid huge page size \"../x\""),
        (
            rdma,
            "cannot set limit: container could not join or create cgroup: cgroup controller rdma \
             is not available",
        ),
    ] {
        assert_eq!(set(&paths, &resources).unwrap_err().to_string(), text);
    }
}
