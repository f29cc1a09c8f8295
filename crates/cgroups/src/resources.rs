//! The limits a container can have, as the OCI spec's `linux.resources` means them.
//!
//! `None` and, as in runc, zero leave the kernel's value alone, unless a field says otherwise.

use crate::devices::DeviceRule;

/// Everything that [`Cgroup::set`](crate::Cgroup::set) can apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Memory and swap.
    pub memory: Memory,
    /// CPU time and placement.
    pub cpu: Cpu,
    /// Most tasks; negative means unlimited.
    pub pids_limit: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages, by page size.
    pub hugetlb: Vec<HugetlbLimit>,
    /// RDMA devices.
    pub rdma: Vec<RdmaLimit>,
    /// Network marking (v1 only).
    pub network: Network,
    /// Raw v2 files and their content, written last and in this order. An error on v1.
    pub unified: Vec<(String, String)>,
    /// Device rules in the spec's order; the last that matches decides. `None` leaves the present
    /// rules alone (as an update must). `Some` starts from "deny all".
    pub devices: Option<Vec<DeviceRule>>,
}

/// Memory limits in bytes; `-1` is unlimited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit (v1), protected amount `memory.low` (v2).
    pub reservation: Option<i64>,
    /// Memory and swap together, also on v2, where it is converted.
    pub swap: Option<i64>,
    /// 0-100 (v1 only; ignored on v2).
    pub swappiness: Option<u64>,
    /// Stop tasks at the limit instead of killing one (v1 only; ignored on v2).
    pub disable_oom_killer: bool,
    /// Refuse a limit that is not above the present usage (v2; v1's kernel refuses by itself).
    pub check_before_update: bool,
}

/// CPU limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// v1's relative weight, 2-262144; on v2 converted to `cpu.weight` as runc converts it.
    pub shares: Option<u64>,
    /// Microseconds of CPU time in each period; `-1` is unlimited.
    pub quota: Option<i64>,
    /// Length of a period in microseconds.
    pub period: Option<u64>,
    /// Microseconds that may be saved up beyond the quota.
    pub burst: Option<u64>,
    /// Real-time microseconds in each real-time period (v1 only).
    pub realtime_runtime: Option<i64>,
    /// Length of a real-time period in microseconds (v1 only).
    pub realtime_period: Option<u64>,
    /// CPUs, as a list such as `0-2,7`. Empty leaves (v2) or inherits (v1) them.
    pub cpus: String,
    /// Memory nodes, likewise.
    pub mems: String,
    /// `SCHED_IDLE` for the group: 0 or 1.
    pub idle: Option<i64>,
}

/// Block I/O limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIo {
    /// 10-1000; on v2 without BFQ converted to `io.weight`.
    pub weight: Option<u16>,
    /// Weight of the group's own tasks against its children (v1 CFQ only).
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_device: Vec<WeightDevice>,
    /// Bytes per second read.
    pub throttle_read_bps: Vec<ThrottleDevice>,
    /// Bytes per second written.
    pub throttle_write_bps: Vec<ThrottleDevice>,
    /// Reads per second.
    pub throttle_read_iops: Vec<ThrottleDevice>,
    /// Writes per second.
    pub throttle_write_iops: Vec<ThrottleDevice>,
}

/// A block device's weight.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDevice {
    /// The device's major number.
    pub major: i64,
    /// The device's minor number.
    pub minor: i64,
    /// 10-1000.
    pub weight: Option<u16>,
    /// 10-1000 (v1 CFQ only).
    pub leaf_weight: Option<u16>,
}

/// A block device's rate.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleDevice {
    /// The device's major number.
    pub major: i64,
    /// The device's minor number.
    pub minor: i64,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// A limit on pages of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct HugetlbLimit {
    /// As the kernel writes it: `64KB`, `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// A limit on one RDMA device.
#[derive(Clone, Debug, PartialEq)]
pub struct RdmaLimit {
    /// The device's name, such as `mlx5_1`.
    pub device: String,
    /// Most handles.
    pub hca_handles: Option<u32>,
    /// Most objects.
    pub hca_objects: Option<u32>,
}

/// Marks on network traffic (v1 only; ignored on v2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Class of the packets.
    pub class_id: Option<u32>,
    /// Priorities by interface.
    pub priorities: Vec<InterfacePriority>,
}

/// The priority of traffic on one interface.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfacePriority {
    /// The interface's name.
    pub name: String,
    /// Its priority.
    pub priority: u32,
}
