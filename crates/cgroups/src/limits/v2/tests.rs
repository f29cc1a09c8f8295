use std::fs;

use super::*;
use crate::resources::{BlockIo, HugetlbLimit, RdmaLimit, ThrottleDevice, WeightDevice};

fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

#[test]
fn every_limit_lands_in_its_file() {
    let names = [
        "pids.max",
        "memory.max",
        "memory.swap.max",
        "memory.low",
        "io.weight",
        "io.max",
        "cpu.weight",
        "cpu.max",
        "cpu.max.burst",
        "cpu.idle",
        "cpuset.cpus",
        "cpuset.mems",
        "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max",
        "rdma.max",
        "memory.high",
    ];
    let dir = fake(&names.map(|name| (name, "")));
    let resources = Resources {
        pids_limit: Some(-1),
        memory: Memory {
            limit: Some(100),
            reservation: Some(50),
            swap: Some(300),
            swappiness: Some(7),
            ..Memory::default()
        },
        cpu: Cpu {
            shares: Some(1024),
            quota: Some(-1),
            period: Some(50_000),
            burst: Some(10),
            cpus: "0".into(),
            mems: "0".into(),
            idle: Some(1),
            ..Cpu::default()
        },
        block_io: BlockIo {
            weight: Some(1000),
            throttle_write_iops: vec![ThrottleDevice { major: 8, minor: 0, rate: 9 }],
            ..BlockIo::default()
        },
        hugetlb: vec![HugetlbLimit { page_size: "2MB".into(), limit: 4 }],
        rdma: vec![RdmaLimit {
            device: "mlx5_1".into(),
            hca_handles: Some(2),
            hca_objects: Some(3),
        }],
        unified: vec![("memory.high".into(), "90".into())],
        ..Resources::default()
    };
    set(dir.path(), &resources).unwrap();
    for (name, text) in [
        ("pids.max", "max"),
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
        ("io.weight", "10000"),
        ("io.max", "8:0 wiops=9"),
        ("cpu.weight", "100"),
        ("cpu.max", "max 50000"),
        ("cpu.max.burst", "10"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "0"),
        ("hugetlb.2MB.max", "4"),
        ("hugetlb.2MB.rsvd.max", "4"),
        ("rdma.max", "mlx5_1 hca_handle=2 hca_object=3"),
        ("memory.high", "90"),
    ] {
        assert_eq!(read(&dir, name), text, "{name}");
    }
}

#[test]
fn bfq_is_preferred_and_takes_device_weights() {
    let dir = fake(&[("io.bfq.weight", "default 100\n"), ("io.weight", "")]);
    let mut resources = Resources::default();
    resources.block_io.weight = Some(200);
    resources.block_io.weight_device =
        vec![WeightDevice { major: 8, minor: 0, weight: Some(300), leaf_weight: None }];
    set(dir.path(), &resources).unwrap();
    assert!(read(&dir, "io.bfq.weight").starts_with("8:0 300\n"));
    assert_eq!(read(&dir, "io.weight"), "");
}

#[test]
fn swap_without_accounting_is_fine_unless_limited() {
    let dir = fake(&[("memory.max", "")]);
    let limits = |swap| Resources {
        memory: Memory { limit: Some(100), swap: Some(swap), ..Memory::default() },
        ..Resources::default()
    };
    set(dir.path(), &limits(100)).unwrap();
    set(dir.path(), &limits(-1)).unwrap();
    assert!(set(dir.path(), &limits(200)).is_err());
}

#[test]
fn usage_is_checked_when_asked() {
    let dir = fake(&[("memory.current", "150\n"), ("memory.max", "")]);
    let memory = Memory { limit: Some(100), check_before_update: true, ..Memory::default() };
    let resources = Resources { memory, ..Resources::default() };
    let error = set(dir.path(), &resources).unwrap_err();
    assert_eq!(error.to_string(), "rejecting memory limit 100 <= usage 150");
    assert_eq!(read(&dir, "memory.max"), "");
}

#[test]
fn a_missing_controller_is_named() {
    let dir = fake(&[("cgroup.controllers", "cpu\n")]);
    let pids = Resources { pids_limit: Some(5), ..Resources::default() };
    let error = set(dir.path(), &pids).unwrap_err();
    assert!(matches!(&error, Error::NoController { controller, .. } if controller == "pids"));
    let unified = |name: &str| {
        let unified = vec![(name.to_owned(), "1".to_owned())];
        set(dir.path(), &Resources { unified, ..Resources::default() }).unwrap_err().to_string()
    };
    assert_eq!(
        unified("memory.max"),
        "unified resource \"memory.max\" can't be set: controller \"memory\" not available"
    );
    assert_eq!(unified("../x"), "unified resource \"../x\" must be a file name (no slashes)");
    assert_eq!(unified("foo"), "unified resource \"foo\" must be in the form CONTROLLER.PARAMETER");
}
