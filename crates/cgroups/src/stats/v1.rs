//! The fields of `io.containerd.cgroups.v1.Metrics`.

use super::Rdma;

/// One reading of a v1 cgroup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Huge pages, by size.
    pub hugetlb: Vec<Hugetlb>,
    /// Tasks.
    pub pids: Option<Pids>,
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Block devices.
    pub blkio: Option<BlkIo>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
    /// The OOM killer.
    pub memory_oom_control: Option<OomControl>,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// Now.
    pub usage: u64,
    /// Ever.
    pub max: u64,
    /// Allocations refused.
    pub failcnt: u64,
    /// As the kernel writes it: `2MB`.
    pub pagesize: String,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// Most; zero means no limit.
    pub limit: u64,
}

/// CPU time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Used, in nanoseconds.
    pub usage: CpuUsage,
    /// Withheld.
    pub throttling: Throttle,
}

/// CPU time used, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// Altogether.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
    /// By CPU.
    pub per_cpu: Vec<u64>,
}

/// CPU time withheld by a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Periods gone by.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Nanoseconds of waiting.
    pub throttled_time: u64,
}

/// `memory.stat` and the counters beside it, in bytes or events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's memory.stat documents these names")]
pub struct Memory {
    pub cache: u64,
    pub rss: u64,
    pub rss_huge: u64,
    pub mapped_file: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub pg_pg_in: u64,
    pub pg_pg_out: u64,
    pub pg_fault: u64,
    pub pg_maj_fault: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub hierarchical_memory_limit: u64,
    pub hierarchical_swap_limit: u64,
    pub total_cache: u64,
    pub total_rss: u64,
    pub total_rss_huge: u64,
    pub total_mapped_file: u64,
    pub total_dirty: u64,
    pub total_writeback: u64,
    pub total_pg_pg_in: u64,
    pub total_pg_pg_out: u64,
    pub total_pg_fault: u64,
    pub total_pg_maj_fault: u64,
    pub total_inactive_anon: u64,
    pub total_active_anon: u64,
    pub total_inactive_file: u64,
    pub total_active_file: u64,
    pub total_unevictable: u64,
    /// Memory.
    pub usage: Option<MemoryEntry>,
    /// Memory and swap together.
    pub swap: Option<MemoryEntry>,
    /// The kernel's share.
    pub kernel: Option<MemoryEntry>,
    /// TCP buffers.
    pub kernel_tcp: Option<MemoryEntry>,
}

/// A counter with its limit, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    /// Most allowed.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// Ever.
    pub max: u64,
    /// Times the limit was hit.
    pub failcnt: u64,
}

/// `memory.oom_control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomControl {
    /// 1 when tasks wait at the limit instead of being killed.
    pub oom_kill_disable: u64,
    /// 1 while they wait.
    pub under_oom: u64,
    /// Tasks killed.
    pub oom_kill: u64,
}

/// Block devices, the cgroup and its children together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkIo {
    /// Bytes.
    pub io_service_bytes_recursive: Vec<BlkIoEntry>,
    /// Operations.
    pub io_serviced_recursive: Vec<BlkIoEntry>,
    /// Operations waiting.
    pub io_queued_recursive: Vec<BlkIoEntry>,
    /// Nanoseconds between dispatch and completion.
    pub io_service_time_recursive: Vec<BlkIoEntry>,
    /// Nanoseconds in the scheduler's queue.
    pub io_wait_time_recursive: Vec<BlkIoEntry>,
    /// Operations merged into others.
    pub io_merged_recursive: Vec<BlkIoEntry>,
    /// Milliseconds of device time.
    pub io_time_recursive: Vec<BlkIoEntry>,
    /// Sectors of 512 bytes.
    pub sectors_recursive: Vec<BlkIoEntry>,
}

/// One counter of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkIoEntry {
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`, or empty.
    pub op: String,
    /// The device's node, such as `/dev/vda`; empty when it has none.
    pub device: String,
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// The counter.
    pub value: u64,
}
