//! Measurements in JSON, with the keys that Go's encoder gives them: protobuf's names in the order of
//! the fields, what is zero or empty left out.

use serde::ser::{Serialize, SerializeMap, Serializer};
use stowd_api::cgroups::{v1, v2};

use super::Metrics;

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::V1(all) => Shown(&**all).serialize(serializer),
            Self::V2(all) => Shown(&**all).serialize(serializer),
        }
    }
}

/// A protobuf field's value.
trait Value {
    /// Says whether it is left out.
    fn is_absent(&self) -> bool;

    fn show<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

struct Shown<'a, T>(&'a T);

impl<T: Value> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.show(serializer)
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn is_absent(&self) -> bool {
                *self == <$type>::default()
            }

            fn show<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        })*
    };
}
plain!(u32, u64, f64, String);

impl<T: Value> Value for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn show<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(Shown).serialize(serializer)
    }
}

impl<T: Value> Value for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn show<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Shown))
    }
}

macro_rules! messages {
    ($($type:path { $($field:ident)* })*) => {
        $(impl Value for $type {
            fn is_absent(&self) -> bool {
                false
            }

            fn show<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if !self.$field.is_absent() {
                    map.serialize_entry(stringify!($field), &Shown(&self.$field))?;
                })*
                map.end()
            }
        })*
    };
}

messages! {
    v1::Metrics { hugetlb pids cpu memory blkio rdma network cgroup_stats memory_oom_control }
    v1::HugetlbStat { usage max failcnt pagesize }
    v1::PidsStat { current limit }
    v1::CpuStat { usage throttling }
    v1::CpuUsage { total kernel user per_cpu }
    v1::Throttle { periods throttled_periods throttled_time }
    v1::MemoryStat {
        cache rss rss_huge mapped_file dirty writeback pg_pg_in pg_pg_out pg_fault pg_maj_fault
        inactive_anon active_anon inactive_file active_file unevictable hierarchical_memory_limit
        hierarchical_swap_limit total_cache total_rss total_rss_huge total_mapped_file total_dirty
        total_writeback total_pg_pg_in total_pg_pg_out total_pg_fault total_pg_maj_fault
        total_inactive_anon total_active_anon total_inactive_file total_active_file
        total_unevictable usage swap kernel kernel_tcp
    }
    v1::MemoryEntry { limit usage max failcnt }
    v1::MemoryOomControl { oom_kill_disable under_oom oom_kill }
    v1::BlkIoStat {
        io_service_bytes_recursive io_serviced_recursive io_queued_recursive
        io_service_time_recursive io_wait_time_recursive io_merged_recursive io_time_recursive
        sectors_recursive
    }
    v1::BlkIoEntry { op device major minor value }
    v1::RdmaStat { current limit }
    v1::RdmaEntry { device hca_handles hca_objects }
    v1::NetworkStat {
        name rx_bytes rx_packets rx_errors rx_dropped tx_bytes tx_packets tx_errors tx_dropped
    }
    v1::CgroupStats { nr_sleeping nr_running nr_stopped nr_uninterruptible nr_io_wait }

    v2::Metrics { pids cpu memory rdma io hugetlb memory_events network }
    v2::PsiData { avg10 avg60 avg300 total }
    v2::PsiStats { some full }
    v2::PidsStat { current limit }
    v2::CpuStat {
        usage_usec user_usec system_usec nr_periods nr_throttled throttled_usec psi nr_bursts
        burst_usec
    }
    v2::MemoryStat {
        anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp
        inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable
        slab_unreclaimable pgfault pgmajfault workingset_refault workingset_activate
        workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree
        pglazyfreed thp_fault_alloc thp_collapse_alloc usage usage_limit swap_usage swap_limit
        max_usage swap_max_usage psi workingset_refault_anon workingset_refault_file
        workingset_activate_anon workingset_activate_file
    }
    v2::MemoryEvents { low high max oom oom_kill oom_group_kill }
    v2::RdmaStat { current limit }
    v2::RdmaEntry { device hca_handles hca_objects }
    v2::IoStat { usage psi }
    v2::IoEntry { major minor rbytes wbytes rios wios }
    v2::HugeTlbStat { current max pagesize failcnt }
    v2::NetworkStat {
        name rx_bytes rx_packets rx_errors rx_dropped tx_bytes tx_packets tx_errors tx_dropped
    }
}
