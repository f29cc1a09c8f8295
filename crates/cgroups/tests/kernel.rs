//! A container's cgroups on the real kernel: what was asked for is what the kernel enforces.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be set up fails its test by panicking"
)]

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};
use stowd_cgroups::devices::{Access, DeviceKind, DeviceRule};
use stowd_cgroups::stats::v1;
use stowd_cgroups::{
    Cgroup, CgroupsPath, Cpu, Driver, Error, FreezerState, HugetlbLimit, Joiner, Layout, Memory,
    Mode, OomEvent, Paths, Resources, Stats,
};
use stowd_sys::clone::{CloneOptions, clone_child};
use stowd_sys::exec::{ExecStrings, execve};
use stowd_testing::need;

/// A cgroup of the test's own, below a parent of its own; both are gone afterwards.
struct Fixture {
    cgroup: Cgroup,
    parent: String,
}

impl Fixture {
    fn new(resources: &Resources) -> Fixture {
        let parent = unique();
        let path = CgroupsPath::parse(&format!("{parent}/box"), "box", Driver::Cgroupfs).unwrap();
        let cgroup = Cgroup::create(layout(), &path, resources).unwrap();
        Fixture { cgroup, parent }
    }

    /// What a controller's file says, without the newline.
    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.cgroup.paths().get(controller).unwrap().join(file);
        fs::read_to_string(&path).unwrap().trim_end().to_owned()
    }

    fn sh(&self, script: &str) -> Child {
        Child::new(&self.cgroup.joiner().unwrap(), script)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        _ = self.cgroup.kill();
        let deleted = self.cgroup.delete();
        for tree in layout().hierarchies() {
            _ = fs::remove_dir(tree.mount_point.join(&self.parent[1..]));
        }
        if !std::thread::panicking() {
            deleted.unwrap();
            for tree in layout().hierarchies() {
                let left = tree.mount_point.join(&self.parent[1..]);
                assert!(!left.exists(), "left behind: {left:?}");
            }
        }
    }
}

/// A shell that joined the cgroup as a container's first process does.
struct Child(Pid);

impl Child {
    fn new(joiner: &Joiner, script: &str) -> Child {
        let strings = |list: &[&str]| {
            ExecStrings::new(list.iter().map(|text| CString::new(*text).unwrap()).collect())
        };
        let (sh, env) = (strings(&["sh", "-c", script]), strings(&["PATH=/usr/bin:/bin"]));
        let options = CloneOptions { cgroup: joiner.unified(), ..CloneOptions::default() };
        let (pid, _) = clone_child(&options, || {
            if joiner.join().is_err() {
                return 99;
            }
            _ = execve(c"/bin/sh", &sh, &env, None);
            98
        })
        .unwrap();
        Child(pid)
    }

    fn wait(self) -> WaitStatus {
        let status = waitpid(Some(self.0), WaitOptions::empty()).unwrap().unwrap().1;
        std::mem::forget(self);
        status
    }

    fn succeeds(self) -> bool {
        self.wait().exit_status() == Some(0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        _ = rustix::process::kill_process(self.0, Signal::KILL);
        _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}

fn layout() -> &'static Layout {
    Layout::get().unwrap()
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("/stowd-cgroups-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn readable(fd: impl std::os::fd::AsFd) -> bool {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap() == 1
}

#[test]
fn the_fast_way_and_mountinfo_agree_on_the_layout() {
    need!(root);
    let slow = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let slow = Layout::from_mountinfo(&slow).unwrap();
    assert_eq!(layout().mode(), slow.mode());
    for tree in layout().hierarchies() {
        let controller = &tree.controllers[0];
        assert_eq!(Some(tree), slow.hierarchy(controller), "{controller}");
    }
}

#[test]
fn v1_limits_are_what_the_kernel_holds() {
    need!(root, cgroup_v1);
    let mut resources = Resources {
        pids_limit: Some(50),
        memory: Memory { limit: Some(64 << 20), reservation: Some(32 << 20), ..Memory::default() },
        cpu: Cpu {
            shares: Some(300),
            quota: Some(20_000),
            period: Some(50_000),
            cpus: "0".into(),
            ..Cpu::default()
        },
        ..Resources::default()
    };
    let it = Fixture::new(&resources);
    assert_eq!(it.read("pids", "pids.max"), "50");
    assert_eq!(it.read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(it.read("memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(it.read("cpu", "cpu.shares"), "300");
    assert_eq!(it.read("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(it.read("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(it.read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(it.read("cpuset", "cpuset.mems"), "0", "inherited");

    // An update changes what it names and nothing else.
    resources = Resources::default();
    resources.memory.limit = Some(-1);
    resources.cpu.quota = Some(-1);
    it.cgroup.set(&resources).unwrap();
    assert!(it.read("memory", "memory.limit_in_bytes").len() > 15);
    assert_eq!(it.read("cpu", "cpu.cfs_quota_us"), "-1");
    assert_eq!(it.read("pids", "pids.max"), "50");
    assert_eq!(it.read("cpu", "cpu.shares"), "300");
}

#[test]
fn a_child_joins_every_tree_before_it_does_anything() {
    need!(root);
    let it = Fixture::new(&Resources::default());
    let child = it.sh("read never < /dev/zero; sleep 1000");
    let own = format!("/proc/{}/cgroup", child.0.as_raw_nonzero());
    let expected = format!("{}/box", it.parent);
    until("joining", || {
        let own = fs::read_to_string(&own).unwrap();
        own.lines().all(|line| line.ends_with(&expected))
    });
    assert_eq!(it.cgroup.pids().unwrap(), [child.0]);
    assert_eq!(it.cgroup.all_pids().unwrap(), [child.0]);
    assert!(it.cgroup.exists());

    // Another container must not get the same cgroup.
    let path = CgroupsPath::parse(&expected, "x", Driver::Cgroupfs).unwrap();
    let again = Cgroup::create(layout(), &path, &Resources::default());
    assert!(matches!(again, Err(Error::NotEmpty { count: 1 })), "{again:?}");
    assert!(it.cgroup.exists(), "what was there before is not removed");
}

#[test]
fn a_process_can_be_added_by_its_pid_and_below() {
    need!(root);
    let it = Fixture::new(&Resources::default());
    let mut sleep = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_child(&sleep);
    it.cgroup.add(pid).unwrap();
    assert_eq!(it.cgroup.pids().unwrap(), [pid]);
    if layout().mode() != Mode::Unified {
        for (controller, path) in it.cgroup.paths().iter() {
            fs::create_dir(path.join("inner")).unwrap();
            if controller == "cpuset" {
                fs::write(path.join("inner/cpuset.cpus"), "0").unwrap();
                fs::write(path.join("inner/cpuset.mems"), "0").unwrap();
            }
        }
        it.cgroup.add_below(Path::new("/inner"), pid).unwrap();
        assert!(it.cgroup.pids().unwrap().is_empty());
        assert_eq!(it.cgroup.all_pids().unwrap(), [pid]);
        let escape = it.cgroup.add_below(Path::new("../.."), pid);
        assert!(matches!(escape, Err(Error::InvalidPath(_))));
    }
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    // The fixture checks that deleting takes the inner cgroups along.
}

#[test]
fn frozen_processes_stand_still() {
    need!(root);
    let it = Fixture::new(&Resources::default());
    let child = it.sh("while :; do :; done");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.0.as_raw_nonzero())).unwrap();
        stat.split(' ').nth(13).unwrap().parse::<u64>().unwrap()
    };
    until("running", || ticks() > 0);
    assert_eq!(it.cgroup.freezer_state().unwrap(), FreezerState::Thawed);
    it.cgroup.freeze().unwrap();
    assert_eq!(it.cgroup.freezer_state().unwrap(), FreezerState::Frozen);
    let before = ticks();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(ticks(), before);
    // A frozen container can be killed.
    it.cgroup.kill().unwrap();
    assert_eq!(child.wait().terminating_signal(), Some(9));
    assert_eq!(it.cgroup.freezer_state().unwrap(), FreezerState::Thawed);
}

#[test]
fn killing_takes_processes_that_keep_forking() {
    need!(root);
    let it = Fixture::new(&Resources { pids_limit: Some(100), ..Resources::default() });
    let child = it.sh("f() { while :; do (sleep 1000 &) ; done; }; f 2>/dev/null & f 2>/dev/null");
    until("forking", || it.cgroup.all_pids().unwrap().len() > 20);
    it.cgroup.kill().unwrap();
    assert_eq!(child.wait().terminating_signal(), Some(9));
    until("dying", || it.cgroup.all_pids().unwrap().is_empty());
}

#[test]
fn a_signal_reaches_everyone() {
    need!(root);
    let it = Fixture::new(&Resources::default());
    let child = it.sh("trap 'exit 7' TERM; while :; do sleep 0.01; done");
    // The trap has to be set first.
    until("starting", || it.cgroup.all_pids().unwrap().len() > 1);
    it.cgroup.signal(Signal::TERM).unwrap();
    assert_eq!(child.wait().exit_status(), Some(7));
}

#[test]
fn running_out_of_memory_is_reported() {
    need!(root);
    let mut resources = Resources::default();
    resources.memory.limit = Some(16 << 20);
    resources.memory.swap = Some(17 << 20);
    if layout().mode() != Mode::Unified
        && !Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    {
        resources.memory.swap = None;
    }
    let it = Fixture::new(&resources);
    let mut events = it.cgroup.oom_events().unwrap();
    assert_eq!(events.read().unwrap(), OomEvent::Nothing);
    assert_eq!(it.cgroup.oom_kills().unwrap(), 0);
    let child = it.sh("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo $x > /dev/null");
    let mut oom = OomEvent::Nothing;
    while oom == OomEvent::Nothing {
        assert!(readable(&events), "no OOM event");
        oom = events.read().unwrap();
    }
    assert_eq!(oom, OomEvent::Oom);
    assert!(!child.succeeds());
    until("counting", || it.cgroup.oom_kills().unwrap() > 0);
    if let Stats::V1(metrics) = it.cgroup.stats().unwrap() {
        assert!(metrics.memory_oom_control.unwrap().oom_kill > 0);
        assert!(metrics.memory.unwrap().usage.unwrap().failcnt > 0);
        it.cgroup.kill().unwrap();
        it.cgroup.delete().unwrap();
        assert!(readable(&events), "v1 reports removal");
        assert_eq!(events.read().unwrap(), OomEvent::Removed);
    }
}

/// The kernel's log, which no default rule allows.
const KMSG: DeviceRule = DeviceRule {
    kind: DeviceKind::Char,
    major: Some(1),
    minor: Some(11),
    access: Access::READ,
    allow: true,
};

fn device_rules(more: &[DeviceRule]) -> Resources {
    let mut rules = vec![DeviceRule::DENY_ALL];
    rules.extend(DeviceRule::DEFAULTS);
    rules.extend(more);
    Resources { devices: Some(rules), ..Resources::default() }
}

#[test]
fn device_rules_are_enforced_and_updated() {
    need!(root);
    let it = Fixture::new(&device_rules(&[]));
    let dir = tempfile::tempdir().unwrap();
    let opens = |mode: &str| it.sh(&format!("exec 3{mode} /dev/kmsg")).succeeds();
    assert!(it.sh("exec 3<> /dev/null 4< /dev/urandom").succeeds());
    assert!(!opens("<"));
    let node = dir.path().join("sda");
    assert!(it.sh(&format!("mknod {} b 8 0", node.display())).succeeds(), "making is allowed");
    assert!(!it.sh(&format!("exec 3< {}", node.display())).succeeds(), "using is not");

    it.cgroup.set(&device_rules(&[KMSG])).unwrap();
    assert!(opens("<"));
    assert!(!opens(">>"), "only reading was allowed");
    it.cgroup.set(&Resources::default()).unwrap();
    assert!(opens("<"), "an update without rules leaves them");
    it.cgroup.set(&device_rules(&[])).unwrap();
    assert!(!opens("<"));
    let all = DeviceRule { allow: true, ..DeviceRule::DENY_ALL };
    it.cgroup.set(&device_rules(&[all])).unwrap();
    assert!(opens("<") && opens(">>"));
}

#[test]
fn the_v2_device_filter_is_enforced_and_replaced() {
    need!(root);
    if layout().hierarchy("").is_none() {
        return;
    }
    let it = Fixture::new(&Resources::default());
    // The v2 directory alone, as on pure v2; beside v1 the kernel asks both.
    let path = it.cgroup.paths().get("").unwrap().to_owned();
    let unified = Cgroup::load([("", path.clone())].into_iter().collect::<Paths>());
    let opens = |mode: &str| it.sh(&format!("exec 3{mode} /dev/kmsg")).succeeds();
    assert!(opens("<"));
    unified.set(&device_rules(&[])).unwrap();
    assert!(it.sh("exec 3<> /dev/null 4< /dev/urandom").succeeds());
    assert!(!opens("<"));
    unified.set(&device_rules(&[KMSG])).unwrap();
    assert!(opens("<"));
    assert!(!opens(">>"));
    let dir = fs::File::open(&path).unwrap();
    let attached = stowd_sys::bpf::attached_device_filters(std::os::fd::AsFd::as_fd(&dir));
    assert_eq!(attached.unwrap().len(), 1, "replaced, not piled up");
}

#[test]
fn statistics_are_plausible() {
    need!(root, cgroup_v1);
    let mut resources = Resources { pids_limit: Some(77), ..Resources::default() };
    resources.memory.limit = Some(256 << 20);
    resources.cpu.quota = Some(10_000);
    resources.cpu.period = Some(50_000);
    let it = Fixture::new(&resources);
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "x=$(head -c 20000000 /dev/zero | tr '\\0' x); dd if=/dev/zero of={}/f bs=1M count=4 \
         conv=fsync 2>/dev/null; while :; do :; done",
        dir.path().display()
    );
    let child = it.sh(&script);
    let read = || match it.cgroup.stats().unwrap() {
        Stats::V1(metrics) => *metrics,
        Stats::V2(_) => panic!("v1 expected"),
    };
    let cpu = |metrics: &v1::Metrics| metrics.cpu.clone().unwrap();
    until("using", || {
        let now = read();
        let busy = cpu(&now).usage.total > 100_000_000;
        // The pipeline before the loop is over.
        let alone = now.pids.is_some_and(|pids| pids.current == 1) && busy;
        alone && cpu(&now).throttling.throttled_periods > 0
    });
    let metrics = read();
    let cpu = cpu(&metrics);
    assert_eq!(
        cpu.usage.per_cpu.iter().sum::<u64>() / 1_000_000_000,
        cpu.usage.total / 1_000_000_000
    );
    assert!(cpu.usage.per_cpu.len() >= std::thread::available_parallelism().unwrap().get());
    assert!(cpu.throttling.throttled_time > 0);
    let memory = metrics.memory.unwrap();
    let usage = memory.usage.unwrap();
    assert_eq!(usage.limit, 256 << 20);
    assert!(usage.usage > 10 << 20 && usage.max >= usage.usage, "{usage:?}");
    assert!(memory.rss > 10 << 20 && memory.total_rss >= memory.rss);
    assert_eq!(memory.hierarchical_memory_limit, 256 << 20);
    assert!(memory.pg_fault > 0);
    let pids = metrics.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (1, 77));
    let blkio = metrics.blkio.unwrap();
    for entry in blkio.io_service_bytes_recursive {
        assert!(entry.major > 0 && !entry.op.is_empty());
    }
    drop(child);
}

#[test]
fn hybrid_huge_page_limits_go_to_v2() {
    need!(root);
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").map(Iterator::count).unwrap_or(0);
    let v2 = layout().hierarchy("").map(|tree| tree.mount_point.join("cgroup.controllers"));
    let has = v2.and_then(|path| fs::read_to_string(path).ok());
    if layout().mode() != Mode::Hybrid
        || sizes == 0
        || !has.is_some_and(|text| text.contains("hugetlb"))
    {
        return;
    }
    let hugetlb = vec![HugetlbLimit { page_size: "2MB".into(), limit: 8 << 20 }];
    let it = Fixture::new(&Resources { hugetlb, ..Resources::default() });
    assert_eq!(it.read("", "hugetlb.2MB.max"), "8388608");
}

#[test]
fn a_failed_creation_leaves_nothing() {
    need!(root);
    let parent = unique();
    let path = CgroupsPath::parse(&format!("{parent}/box"), "box", Driver::Cgroupfs).unwrap();
    let mut resources = Resources::default();
    resources.cpu.cpus = "4000".into();
    let error = Cgroup::create(layout(), &path, &resources).unwrap_err();
    assert!(matches!(&error, Error::Write { value, .. } if value == "4000"), "{error}");
    for tree in layout().hierarchies() {
        let left: PathBuf = tree.mount_point.join(&parent[1..]);
        assert!(!left.exists(), "left behind: {left:?}");
    }
}

#[test]
fn a_deleted_cgroup_is_gone_for_every_call() {
    need!(root);
    let it = Fixture::new(&Resources::default());
    it.cgroup.delete().unwrap();
    it.cgroup.delete().unwrap();
    it.cgroup.kill().unwrap();
    assert!(!it.cgroup.exists());
    assert_eq!(it.cgroup.freezer_state().unwrap(), FreezerState::Undefined);
    assert!(it.cgroup.pids().unwrap_err().is_not_found());
    assert!(it.cgroup.joiner().unwrap_err().is_not_found());
}
