//! What a container uses, as containerd's metrics messages.

use stowd_api::Any;
use stowd_api::cgroups::{v1 as m1, v2 as m2};
use stowd_cgroups::stats::{Rdma, RdmaEntry, Stats, v1, v2};

/// Packs a reading into the message of its cgroup version.
pub(crate) fn pack(stats: Stats) -> Any {
    match stats {
        Stats::V1(metrics) => Any::pack(&metrics_v1(*metrics)),
        Stats::V2(metrics) => Any::pack(&metrics_v2(*metrics)),
    }
}

/// Copies fields that have the same name and type on both sides, and sets others.
macro_rules! copied {
    ($from:ident => $module:ident::$message:ident {
        $($field:ident),+ $(,)?
        $(; $($name:ident = $value:expr),+ $(,)?)?
    }) => {
        $module::$message { $($field: $from.$field,)+ $($($name: $value,)+)? }
    };
}

/// Converts each entry of a list.
fn all<A, B>(list: Vec<A>, convert: impl Fn(A) -> B) -> Vec<B> {
    list.into_iter().map(convert).collect()
}

fn metrics_v1(from: v1::Metrics) -> m1::Metrics {
    m1::Metrics {
        hugetlb: all(
            from.hugetlb,
            |from| copied!(from => m1::HugetlbStat { usage, max, failcnt, pagesize }),
        ),
        pids: from.pids.map(|from| copied!(from => m1::PidsStat { current, limit })),
        cpu: from.cpu.map(|from| m1::CpuStat {
            usage: Some({
                let from = from.usage;
                copied!(from => m1::CpuUsage { total, kernel, user, per_cpu })
            }),
            throttling: Some({
                let from = from.throttling;
                copied!(from => m1::Throttle { periods, throttled_periods, throttled_time })
            }),
        }),
        memory: from.memory.map(memory_v1),
        blkio: from.blkio.map(block_io),
        rdma: from.rdma.map(rdma_v1),
        memory_oom_control: from.memory_oom_control.map(
            |from| copied!(from => m1::MemoryOomControl { oom_kill_disable, under_oom, oom_kill }),
        ),
        ..Default::default()
    }
}

fn memory_v1(from: v1::Memory) -> m1::MemoryStat {
    let entry =
        |from: v1::MemoryEntry| copied!(from => m1::MemoryEntry { limit, usage, max, failcnt });
    copied!(from => m1::MemoryStat {
        cache, rss, rss_huge, mapped_file, dirty, writeback, pg_pg_in, pg_pg_out, pg_fault,
        pg_maj_fault, inactive_anon, active_anon, inactive_file, active_file, unevictable,
        hierarchical_memory_limit, hierarchical_swap_limit, total_cache, total_rss,
        total_rss_huge, total_mapped_file, total_dirty, total_writeback, total_pg_pg_in,
        total_pg_pg_out, total_pg_fault, total_pg_maj_fault, total_inactive_anon,
        total_active_anon, total_inactive_file, total_active_file, total_unevictable;
        usage = from.usage.map(entry), swap = from.swap.map(entry), kernel =
        from.kernel.map(entry), kernel_tcp = from.kernel_tcp.map(entry)
    })
}

fn block_io(from: v1::BlkIo) -> m1::BlkIoStat {
    let entry =
        |from: v1::BlkIoEntry| copied!(from => m1::BlkIoEntry { op, device, major, minor, value });
    m1::BlkIoStat {
        io_service_bytes_recursive: all(from.io_service_bytes_recursive, entry),
        io_serviced_recursive: all(from.io_serviced_recursive, entry),
        io_queued_recursive: all(from.io_queued_recursive, entry),
        io_service_time_recursive: all(from.io_service_time_recursive, entry),
        io_wait_time_recursive: all(from.io_wait_time_recursive, entry),
        io_merged_recursive: all(from.io_merged_recursive, entry),
        io_time_recursive: all(from.io_time_recursive, entry),
        sectors_recursive: all(from.sectors_recursive, entry),
    }
}

fn rdma_v1(from: Rdma) -> m1::RdmaStat {
    let entry =
        |from: RdmaEntry| copied!(from => m1::RdmaEntry { device, hca_handles, hca_objects });
    m1::RdmaStat { current: all(from.current, entry), limit: all(from.limit, entry) }
}

fn metrics_v2(from: v2::Metrics) -> m2::Metrics {
    m2::Metrics {
        pids: from.pids.map(|from| copied!(from => m2::PidsStat { current, limit })),
        cpu: from.cpu.map(|from| copied!(from => m2::CpuStat {
            usage_usec, user_usec, system_usec, nr_periods, nr_throttled, throttled_usec,
            nr_bursts, burst_usec;
            psi = from.psi.map(pressure)
        })),
        memory: from.memory.map(|from| copied!(from => m2::MemoryStat {
            anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty,
            file_writeback, anon_thp, inactive_anon, active_anon, inactive_file, active_file,
            unevictable, slab_reclaimable, slab_unreclaimable, pgfault, pgmajfault,
            workingset_refault, workingset_activate, workingset_nodereclaim, pgrefill, pgscan,
            pgsteal, pgactivate, pgdeactivate, pglazyfree, pglazyfreed, thp_fault_alloc,
            thp_collapse_alloc, usage, usage_limit, swap_usage, swap_limit, max_usage,
            swap_max_usage, workingset_refault_anon, workingset_refault_file,
            workingset_activate_anon, workingset_activate_file;
            psi = from.psi.map(pressure)
        })),
        rdma: from.rdma.map(rdma_v2),
        io: from.io.map(|from| m2::IoStat {
            usage: all(from.usage, |from| copied!(from => m2::IoEntry { major, minor, rbytes, wbytes, rios, wios })),
            psi: from.psi.map(pressure),
        }),
        hugetlb: all(from.hugetlb, |from| copied!(from => m2::HugeTlbStat { current, max, pagesize, failcnt })),
        memory_events: from.memory_events.map(|from| copied!(from => m2::MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill })),
        ..Default::default()
    }
}

fn rdma_v2(from: Rdma) -> m2::RdmaStat {
    let entry =
        |from: RdmaEntry| copied!(from => m2::RdmaEntry { device, hca_handles, hca_objects });
    m2::RdmaStat { current: all(from.current, entry), limit: all(from.limit, entry) }
}

fn pressure(from: v2::Pressure) -> m2::PsiStats {
    let data =
        |from: v2::PressureData| copied!(from => m2::PsiData { avg10, avg60, avg300, total });
    m2::PsiStats { some: from.some.map(data), full: from.full.map(data) }
}
