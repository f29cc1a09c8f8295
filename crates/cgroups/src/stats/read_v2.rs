//! Reads v2's counters.

use std::path::Path;

use super::parse::{each_pair, huge_page_sizes, number_or_zero, pressure, rdma};
use super::v2::{Cpu, Hugetlb, Io, IoEntry, Memory, MemoryEvents, Metrics, Pids};
use crate::{Result, file};

/// Reads all counters of the cgroup at `path`. As in containerd, every part but the events is there,
/// with zeros where the controller is not.
pub(crate) fn read(path: &Path) -> Result<Metrics> {
    Ok(Metrics {
        pids: Some(Pids {
            current: number_or_zero(path, "pids.current")?,
            limit: number_or_zero(path, "pids.max")?,
        }),
        cpu: Some(cpu(path)?),
        memory: Some(memory(path)?),
        rdma: Some(rdma(path)?.unwrap_or_default()),
        io: Some(Io { usage: io(path)?, psi: pressure(path, "io.pressure") }),
        hugetlb: hugetlb(path)?,
        memory_events: memory_events(path)?,
    })
}

fn cpu(path: &Path) -> Result<Cpu> {
    let mut cpu = Cpu { psi: pressure(path, "cpu.pressure"), ..Cpu::default() };
    each_pair(path, "cpu.stat", |key, value| {
        let field = match key {
            "usage_usec" => &mut cpu.usage_usec,
            "user_usec" => &mut cpu.user_usec,
            "system_usec" => &mut cpu.system_usec,
            "nr_periods" => &mut cpu.nr_periods,
            "nr_throttled" => &mut cpu.nr_throttled,
            "throttled_usec" => &mut cpu.throttled_usec,
            "nr_bursts" => &mut cpu.nr_bursts,
            "burst_usec" => &mut cpu.burst_usec,
            _ => return,
        };
        *field = value;
    })?;
    Ok(cpu)
}

fn memory(path: &Path) -> Result<Memory> {
    let mut memory = Memory::default();
    let there = each_pair(path, "memory.stat", |key, value| {
        if let Some(field) = memory_field(&mut memory, key) {
            *field = value;
        }
    })?;
    if !there {
        return Ok(memory);
    }
    memory.usage = number_or_zero(path, "memory.current")?;
    memory.usage_limit = number_or_zero(path, "memory.max")?;
    memory.max_usage = number_or_zero(path, "memory.peak")?;
    memory.swap_usage = number_or_zero(path, "memory.swap.current")?;
    memory.swap_limit = number_or_zero(path, "memory.swap.max")?;
    memory.swap_max_usage = number_or_zero(path, "memory.swap.peak")?;
    memory.psi = pressure(path, "memory.pressure");
    Ok(memory)
}

fn memory_field<'a>(memory: &'a mut Memory, key: &str) -> Option<&'a mut u64> {
    Some(match key {
        "anon" => &mut memory.anon,
        "file" => &mut memory.file,
        "kernel_stack" => &mut memory.kernel_stack,
        "slab" => &mut memory.slab,
        "sock" => &mut memory.sock,
        "shmem" => &mut memory.shmem,
        "file_mapped" => &mut memory.file_mapped,
        "file_dirty" => &mut memory.file_dirty,
        "file_writeback" => &mut memory.file_writeback,
        "anon_thp" => &mut memory.anon_thp,
        "inactive_anon" => &mut memory.inactive_anon,
        "active_anon" => &mut memory.active_anon,
        "inactive_file" => &mut memory.inactive_file,
        "active_file" => &mut memory.active_file,
        "unevictable" => &mut memory.unevictable,
        "slab_reclaimable" => &mut memory.slab_reclaimable,
        "slab_unreclaimable" => &mut memory.slab_unreclaimable,
        "pgfault" => &mut memory.pgfault,
        "pgmajfault" => &mut memory.pgmajfault,
        "workingset_refault" => &mut memory.workingset_refault,
        "workingset_activate" => &mut memory.workingset_activate,
        "workingset_nodereclaim" => &mut memory.workingset_nodereclaim,
        "pgrefill" => &mut memory.pgrefill,
        "pgscan" => &mut memory.pgscan,
        "pgsteal" => &mut memory.pgsteal,
        "pgactivate" => &mut memory.pgactivate,
        "pgdeactivate" => &mut memory.pgdeactivate,
        "pglazyfree" => &mut memory.pglazyfree,
        "pglazyfreed" => &mut memory.pglazyfreed,
        "thp_fault_alloc" => &mut memory.thp_fault_alloc,
        "thp_collapse_alloc" => &mut memory.thp_collapse_alloc,
        "workingset_refault_anon" => &mut memory.workingset_refault_anon,
        "workingset_refault_file" => &mut memory.workingset_refault_file,
        "workingset_activate_anon" => &mut memory.workingset_activate_anon,
        "workingset_activate_file" => &mut memory.workingset_activate_file,
        _ => return None,
    })
}

fn memory_events(path: &Path) -> Result<Option<MemoryEvents>> {
    let mut events = MemoryEvents::default();
    let there = each_pair(path, "memory.events", |key, value| {
        let field = match key {
            "low" => &mut events.low,
            "high" => &mut events.high,
            "max" => &mut events.max,
            "oom" => &mut events.oom,
            "oom_kill" => &mut events.oom_kill,
            "oom_group_kill" => &mut events.oom_group_kill,
            _ => return,
        };
        *field = value;
    })?;
    Ok(there.then_some(events))
}

/// Reads lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn io(path: &Path) -> Result<Vec<IoEntry>> {
    let text = file::read_if_there(path, "io.stat")?.unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        let mut entry = IoEntry { major, minor, ..IoEntry::default() };
        let mut any = false;
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let field = match key {
                "rbytes" => &mut entry.rbytes,
                "wbytes" => &mut entry.wbytes,
                "rios" => &mut entry.rios,
                "wios" => &mut entry.wios,
                _ => continue,
            };
            *field = value.parse().ok()?;
            any = true;
        }
        // Some kernels list a device's numbers with nothing behind them.
        any.then_some(entry)
    };
    Ok(text.lines().filter_map(entry).collect())
}

fn hugetlb(path: &Path) -> Result<Vec<Hugetlb>> {
    let sizes = huge_page_sizes();
    let mut all = Vec::with_capacity(sizes.len());
    for pagesize in sizes {
        let mut failcnt = 0;
        each_pair(path, &format!("hugetlb.{pagesize}.events"), |key, value| {
            if key == "max" {
                failcnt = value;
            }
        })?;
        all.push(Hugetlb {
            current: number_or_zero(path, &format!("hugetlb.{pagesize}.current"))?,
            max: number_or_zero(path, &format!("hugetlb.{pagesize}.max"))?,
            pagesize,
            failcnt,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("cpu.stat", "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnice_usec 0\nnr_bursts 2\n"),
            ("memory.stat", "anon 100\nfile 50\nworkingset_refault_anon 7\nnew_counter 1\n"),
            ("memory.current", "150\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n"),
            ("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n"),
            ("cgroup.controllers", "cpu memory pids io\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let metrics = read(dir.path()).unwrap();
        assert_eq!(metrics.pids, Some(Pids { current: 3, limit: u64::MAX }));
        let cpu = metrics.cpu.unwrap();
        assert_eq!((cpu.usage_usec, cpu.system_usec, cpu.nr_bursts), (10, 4, 2));
        let memory = metrics.memory.unwrap();
        assert_eq!((memory.anon, memory.usage, memory.usage_limit), (100, 150, u64::MAX));
        assert_eq!(memory.workingset_refault_anon, 7);
        assert_eq!(metrics.memory_events.unwrap().oom_kill, 1);
        let entry = IoEntry { major: 254, minor: 0, rbytes: 1, wbytes: 2, rios: 3, wios: 4 };
        assert_eq!(metrics.io.unwrap().usage, [entry]);
    }
}
