//! The fields of `io.containerd.cgroups.v2.Metrics`.

use super::Rdma;

/// One reading of a v2 cgroup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Tasks.
    pub pids: Option<Pids>,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory and swap.
    pub memory: Option<Memory>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
    /// Block devices.
    pub io: Option<Io>,
    /// Huge pages, by size.
    pub hugetlb: Vec<Hugetlb>,
    /// `memory.events`.
    pub memory_events: Option<MemoryEvents>,
}

/// How long tasks waited for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Option<PressureData>,
    /// All tasks waited.
    pub full: Option<PressureData>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureData {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last 5 minutes.
    pub avg300: f64,
    /// Microseconds altogether.
    pub total: u64,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// Most; the largest number means no limit.
    pub limit: u64,
}

/// `cpu.stat`, times in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the kernel's cpu.stat documents these names")]
pub struct Cpu {
    pub usage_usec: u64,
    pub user_usec: u64,
    pub system_usec: u64,
    pub nr_periods: u64,
    pub nr_throttled: u64,
    pub throttled_usec: u64,
    pub psi: Option<Pressure>,
    pub nr_bursts: u64,
    pub burst_usec: u64,
}

/// `memory.stat` and the counters beside it, in bytes or events.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the kernel's memory.stat documents these names")]
pub struct Memory {
    pub anon: u64,
    pub file: u64,
    pub kernel_stack: u64,
    pub slab: u64,
    pub sock: u64,
    pub shmem: u64,
    pub file_mapped: u64,
    pub file_dirty: u64,
    pub file_writeback: u64,
    pub anon_thp: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    pub workingset_refault: u64,
    pub workingset_activate: u64,
    pub workingset_nodereclaim: u64,
    pub pgrefill: u64,
    pub pgscan: u64,
    pub pgsteal: u64,
    pub pgactivate: u64,
    pub pgdeactivate: u64,
    pub pglazyfree: u64,
    pub pglazyfreed: u64,
    pub thp_fault_alloc: u64,
    pub thp_collapse_alloc: u64,
    /// Memory in use, in bytes.
    pub usage: u64,
    /// The hard limit; the largest number means none.
    pub usage_limit: u64,
    /// Swap in use, in bytes.
    pub swap_usage: u64,
    /// The limit on swap alone.
    pub swap_limit: u64,
    /// Most memory ever in use (Linux 5.19 and later).
    pub max_usage: u64,
    /// Most swap ever in use (Linux 6.5 and later).
    pub swap_max_usage: u64,
    pub psi: Option<Pressure>,
    pub workingset_refault_anon: u64,
    pub workingset_refault_file: u64,
    pub workingset_activate_anon: u64,
    pub workingset_activate_file: u64,
}

/// `memory.events`: how often each limit was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's memory.events documents these names")]
pub struct MemoryEvents {
    pub low: u64,
    pub high: u64,
    pub max: u64,
    pub oom: u64,
    pub oom_kill: u64,
    pub oom_group_kill: u64,
}

/// Block devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Io {
    /// By device.
    pub usage: Vec<IoEntry>,
    /// `io.pressure`.
    pub psi: Option<Pressure>,
}

/// One device's line of `io.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's io.stat documents these names")]
pub struct IoEntry {
    pub major: u64,
    pub minor: u64,
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Now.
    pub current: u64,
    /// Most allowed; the largest number means no limit.
    pub max: u64,
    /// As the kernel writes it: `2MB`.
    pub pagesize: String,
    /// Times the limit was hit.
    pub failcnt: u64,
}
