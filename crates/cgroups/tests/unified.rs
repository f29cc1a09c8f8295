//! What only a machine with cgroup v2 alone can show.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be set up fails its test by panicking"
)]

use std::fs;

use stowd_cgroups::{
    BlockIo, Cgroup, CgroupsPath, Cpu, Driver, Layout, Memory, Mode, Pid, Resources, Stats,
    ThrottleDevice,
};
use stowd_testing::need;

struct Fixture {
    cgroup: Cgroup,
    parent: std::path::PathBuf,
}

impl Fixture {
    fn new(name: &str, resources: &Resources) -> Fixture {
        let layout = Layout::get().unwrap();
        let parent = format!("stowd-cgroups-v2-{}-{name}", std::process::id());
        let path = CgroupsPath::parse(&format!("/{parent}/box"), "box", Driver::Cgroupfs).unwrap();
        let cgroup = Cgroup::create(layout, &path, resources).unwrap();
        Fixture { cgroup, parent: layout.hierarchies()[0].mount_point.join(parent) }
    }

    fn read(&self, file: &str) -> String {
        let path = self.cgroup.paths().get("").unwrap().join(file);
        fs::read_to_string(path).unwrap().trim_end().to_owned()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        _ = self.cgroup.kill();
        let deleted = self.cgroup.delete();
        _ = fs::remove_dir(&self.parent);
        if !std::thread::panicking() {
            deleted.unwrap();
            assert!(!self.parent.exists());
        }
    }
}

#[test]
fn limits_are_what_the_kernel_holds() {
    need!(root, cgroup_v2);
    assert_eq!(Layout::get().unwrap().mode(), Mode::Unified);
    let resources = Resources {
        pids_limit: Some(50),
        memory: Memory {
            limit: Some(64 << 20),
            swap: Some(64 << 20),
            reservation: Some(32 << 20),
            ..Memory::default()
        },
        cpu: Cpu { shares: Some(1024), quota: Some(20_000), cpus: "0".into(), ..Cpu::default() },
        unified: vec![("memory.high".into(), "50331648".into())],
        ..Resources::default()
    };
    let it = Fixture::new("limits", &resources);
    assert_eq!(it.read("pids.max"), "50");
    assert_eq!(it.read("memory.max"), "67108864");
    assert_eq!(it.read("memory.low"), "33554432");
    assert_eq!(it.read("memory.high"), "50331648");
    assert_eq!(it.read("cpu.weight"), "100");
    assert_eq!(it.read("cpu.max"), "20000 100000");
    assert_eq!(it.read("cpuset.cpus"), "0");
}

#[test]
fn io_limits_reach_a_real_disk() {
    need!(root, cgroup_v2);
    let disk = fs::read_dir("/sys/block").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name();
        let real = !name.to_str()?.starts_with("loop") && !name.to_str()?.starts_with("ram");
        let numbers = fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        real.then_some((major.parse().ok()?, minor.parse().ok()?))
    });
    let Some((major, minor)) = disk else { return };
    let throttle_read_bps = vec![ThrottleDevice { major, minor, rate: 1 << 20 }];
    let block_io = BlockIo { throttle_read_bps, ..BlockIo::default() };
    let it = Fixture::new("io", &Resources { block_io, ..Resources::default() });
    assert!(it.read("io.max").starts_with(&format!("{major}:{minor} rbps=1048576 ")));
}

#[test]
fn statistics_and_killing() {
    need!(root, cgroup_v2);
    let it = Fixture::new("stats", &Resources { pids_limit: Some(9), ..Resources::default() });
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    it.cgroup.add(Pid::from_child(&child)).unwrap();
    let Stats::V2(metrics) = it.cgroup.stats().unwrap() else { panic!("v2 expected") };
    let pids = metrics.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (1, 9));
    assert_eq!(metrics.memory.unwrap().usage_limit, u64::MAX);
    assert!(metrics.memory_events.is_some());
    it.cgroup.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn exec_follows_an_init_that_moved_into_a_child_cgroup() {
    need!(root, cgroup_v2);
    let it = Fixture::new("nested", &Resources::default());
    let inner = it.cgroup.paths().get("").unwrap().join("init");
    fs::create_dir(&inner).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_child(&child);
    it.cgroup.add_below("init".as_ref(), pid).unwrap();
    let joiner = it.cgroup.joiner_beside(pid).unwrap();
    let dir = std::os::fd::AsRawFd::as_raw_fd(&joiner.unified().unwrap());
    assert_eq!(fs::read_link(format!("/proc/self/fd/{dir}")).unwrap(), inner);
    child.kill().unwrap();
    child.wait().unwrap();
}
