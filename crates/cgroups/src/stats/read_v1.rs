//! Reads v1's counters.

use std::path::Path;

use super::parse::{each_pair, huge_page_sizes, number_or_zero, rdma};
use super::v1::{
    BlkIo, BlkIoEntry, Cpu, CpuUsage, Hugetlb, Memory, MemoryEntry, Metrics, OomControl, Pids,
    Throttle,
};
use crate::path::Paths;
use crate::{Result, file};

/// Reads all counters of the cgroups at `paths`.
pub(crate) fn read(paths: &Paths) -> Result<Metrics> {
    let mut metrics = Metrics { hugetlb: hugetlb(paths)?, ..Metrics::default() };
    if let Some(path) = paths.get("pids") {
        metrics.pids = pids(path)?;
    }
    let mut cpu = Cpu::default();
    if let Some(path) = paths.get("cpu") {
        cpu.throttling = throttling(path)?;
    }
    if let Some(path) = paths.get("cpuacct") {
        cpu.usage = usage(path)?;
    }
    metrics.cpu = Some(cpu);
    if let Some(path) = paths.get("memory") {
        metrics.memory = memory(path)?;
        metrics.memory_oom_control = oom_control(path)?;
    }
    if let Some(path) = paths.get("blkio") {
        metrics.blkio = Some(blkio(path)?);
    }
    if let Some(path) = paths.get("rdma") {
        metrics.rdma = rdma(path)?;
    }
    Ok(metrics)
}

fn hugetlb(paths: &Paths) -> Result<Vec<Hugetlb>> {
    // Beside v1, this controller is often v2's, which has no highest use.
    let (path, names) = match (paths.get("hugetlb"), paths.get("")) {
        (Some(path), _) => (path, ["usage_in_bytes", "max_usage_in_bytes", "failcnt"]),
        (None, Some(path)) => (path, ["current", "", ""]),
        (None, None) => return Ok(Vec::new()),
    };
    let mut all = Vec::new();
    for pagesize in huge_page_sizes() {
        let number = |name: &str| -> Result<Option<u64>> {
            if name.is_empty() {
                return Ok(Some(0));
            }
            file::read_number_if_there(path, &format!("hugetlb.{pagesize}.{name}"))
        };
        let [usage, max, failcnt] = names;
        let Some(usage) = number(usage)? else { continue };
        let max = number(max)?.unwrap_or(0);
        let failcnt = number(failcnt)?.unwrap_or(0);
        all.push(Hugetlb { usage, max, failcnt, pagesize });
    }
    Ok(all)
}

fn pids(path: &Path) -> Result<Option<Pids>> {
    let Some(current) = file::read_number_if_there(path, "pids.current")? else { return Ok(None) };
    let limit = match number_or_zero(path, "pids.max")? {
        u64::MAX => 0,
        limit => limit,
    };
    Ok(Some(Pids { current, limit }))
}

fn throttling(path: &Path) -> Result<Throttle> {
    let mut throttle = Throttle::default();
    each_pair(path, "cpu.stat", |key, value| match key {
        "nr_periods" => throttle.periods = value,
        "nr_throttled" => throttle.throttled_periods = value,
        "throttled_time" => throttle.throttled_time = value,
        _ => {}
    })?;
    Ok(throttle)
}

/// One tick of `cpuacct.stat`: a hundredth of a second on every Linux.
const TICK: u64 = 10_000_000;

fn usage(path: &Path) -> Result<CpuUsage> {
    let mut usage =
        CpuUsage { total: number_or_zero(path, "cpuacct.usage")?, ..CpuUsage::default() };
    each_pair(path, "cpuacct.stat", |key, value| match key {
        "user" => usage.user = value.saturating_mul(TICK),
        "system" => usage.kernel = value.saturating_mul(TICK),
        _ => {}
    })?;
    let name = "cpuacct.usage_percpu";
    let text = file::read_if_there(path, name)?.unwrap_or_default();
    for field in text.split_ascii_whitespace() {
        usage.per_cpu.push(field.parse().map_err(|_| file::bad(path, name, field))?);
    }
    Ok(usage)
}

fn memory(path: &Path) -> Result<Option<Memory>> {
    let mut memory = Memory::default();
    let there = each_pair(path, "memory.stat", |key, value| {
        if let Some(field) = memory_field(&mut memory, key) {
            *field = value;
        }
    })?;
    if !there {
        return Ok(None);
    }
    memory.usage = Some(entry(path, "memory")?);
    memory.swap = Some(entry(path, "memory.memsw")?);
    memory.kernel = Some(entry(path, "memory.kmem")?);
    memory.kernel_tcp = Some(entry(path, "memory.kmem.tcp")?);
    Ok(Some(memory))
}

fn memory_field<'a>(memory: &'a mut Memory, key: &str) -> Option<&'a mut u64> {
    Some(match key {
        "cache" => &mut memory.cache,
        "rss" => &mut memory.rss,
        "rss_huge" => &mut memory.rss_huge,
        "mapped_file" => &mut memory.mapped_file,
        "dirty" => &mut memory.dirty,
        "writeback" => &mut memory.writeback,
        "pgpgin" => &mut memory.pg_pg_in,
        "pgpgout" => &mut memory.pg_pg_out,
        "pgfault" => &mut memory.pg_fault,
        "pgmajfault" => &mut memory.pg_maj_fault,
        "inactive_anon" => &mut memory.inactive_anon,
        "active_anon" => &mut memory.active_anon,
        "inactive_file" => &mut memory.inactive_file,
        "active_file" => &mut memory.active_file,
        "unevictable" => &mut memory.unevictable,
        "hierarchical_memory_limit" => &mut memory.hierarchical_memory_limit,
        "hierarchical_memsw_limit" => &mut memory.hierarchical_swap_limit,
        "total_cache" => &mut memory.total_cache,
        "total_rss" => &mut memory.total_rss,
        "total_rss_huge" => &mut memory.total_rss_huge,
        "total_mapped_file" => &mut memory.total_mapped_file,
        "total_dirty" => &mut memory.total_dirty,
        "total_writeback" => &mut memory.total_writeback,
        "total_pgpgin" => &mut memory.total_pg_pg_in,
        "total_pgpgout" => &mut memory.total_pg_pg_out,
        "total_pgfault" => &mut memory.total_pg_fault,
        "total_pgmajfault" => &mut memory.total_pg_maj_fault,
        "total_inactive_anon" => &mut memory.total_inactive_anon,
        "total_active_anon" => &mut memory.total_active_anon,
        "total_inactive_file" => &mut memory.total_inactive_file,
        "total_active_file" => &mut memory.total_active_file,
        "total_unevictable" => &mut memory.total_unevictable,
        _ => return None,
    })
}

/// Zeros where the kernel does not count (swap accounting off, no kernel memory counter).
fn entry(path: &Path, prefix: &str) -> Result<MemoryEntry> {
    let usage = file::read_number_if_there(path, &format!("{prefix}.usage_in_bytes"))?;
    let Some(usage) = usage else { return Ok(MemoryEntry::default()) };
    Ok(MemoryEntry {
        limit: number_or_zero(path, &format!("{prefix}.limit_in_bytes"))?,
        usage,
        max: number_or_zero(path, &format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: number_or_zero(path, &format!("{prefix}.failcnt"))?,
    })
}

fn oom_control(path: &Path) -> Result<Option<OomControl>> {
    let mut control = OomControl::default();
    let there = each_pair(path, "memory.oom_control", |key, value| match key {
        "oom_kill_disable" => control.oom_kill_disable = value,
        "under_oom" => control.under_oom = value,
        "oom_kill" => control.oom_kill = value,
        _ => {}
    })?;
    Ok(there.then_some(control))
}

fn blkio(path: &Path) -> Result<BlkIo> {
    let devices = Devices(file::read_path("/proc/partitions".into()).unwrap_or_default());
    let mut io = BlkIo::default();
    // The old scheduler's files count only what went through it.
    if file::exists(&path.join("blkio.io_serviced_recursive")) {
        let table: [(&str, &mut Vec<BlkIoEntry>); 8] = [
            ("blkio.sectors_recursive", &mut io.sectors_recursive),
            ("blkio.io_service_bytes_recursive", &mut io.io_service_bytes_recursive),
            ("blkio.io_serviced_recursive", &mut io.io_serviced_recursive),
            ("blkio.io_queued_recursive", &mut io.io_queued_recursive),
            ("blkio.io_service_time_recursive", &mut io.io_service_time_recursive),
            ("blkio.io_wait_time_recursive", &mut io.io_wait_time_recursive),
            ("blkio.io_merged_recursive", &mut io.io_merged_recursive),
            ("blkio.time_recursive", &mut io.io_time_recursive),
        ];
        for (name, entries) in table {
            *entries = blkio_entries(path, name, &devices)?;
        }
        if io != BlkIo::default() {
            return Ok(io);
        }
    }
    io.io_serviced_recursive = blkio_entries(path, "blkio.throttle.io_serviced", &devices)?;
    io.io_service_bytes_recursive =
        blkio_entries(path, "blkio.throttle.io_service_bytes", &devices)?;
    Ok(io)
}

/// The text of `/proc/partitions`: two lines of heading, then major, minor, blocks and name.
struct Devices(String);

impl Devices {
    fn node(&self, major: u64, minor: u64) -> String {
        let find = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let name = fields.nth(1)?;
            (numbers == (major, minor)).then(|| format!("/dev/{name}"))
        };
        self.0.lines().skip(2).find_map(find).unwrap_or_default()
    }
}

/// Reads lines of `8:0 Read 1282048` or `8:0 6792`; the sum over all devices is left out.
fn blkio_entries(path: &Path, name: &str, devices: &Devices) -> Result<Vec<BlkIoEntry>> {
    let text = file::read_if_there(path, name)?.unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split([' ', ':']);
        let parsed = match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some("Total"), Some(_), None, None) => continue,
            (Some(major), Some(minor), Some(value), None) => Some((major, minor, "", value)),
            (Some(major), Some(minor), Some(op), Some(value)) => Some((major, minor, op, value)),
            _ => None,
        };
        let entry = parsed.and_then(|(major, minor, op, value)| {
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            let device = devices.node(major, minor);
            Some(BlkIoEntry { op: op.into(), device, major, minor, value: value.parse().ok()? })
        });
        entries.push(entry.ok_or_else(|| file::bad(path, name, line))?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_lines() {
        let dir = tempfile::tempdir().unwrap();
        let text = "8:0 Read 12\n8:0 Write 3\n8:0 Total 15\n7:1 99\nTotal 15\n";
        std::fs::write(dir.path().join("blkio.x"), text).unwrap();
        let devices = Devices("major minor  #blocks  name\n\n   8        0  100 sda\n".into());
        let entries = blkio_entries(dir.path(), "blkio.x", &devices).unwrap();
        let short: Vec<_> =
            entries.iter().map(|e| (e.op.as_str(), e.device.as_str(), e.value)).collect();
        assert_eq!(
            short,
            [
                ("Read", "/dev/sda", 12),
                ("Write", "/dev/sda", 3),
                ("Total", "/dev/sda", 15),
                ("", "", 99)
            ]
        );
        std::fs::write(dir.path().join("blkio.x"), "8:0\n").unwrap();
        assert!(blkio_entries(dir.path(), "blkio.x", &devices).is_err());
    }

    #[test]
    fn an_empty_tree_reads_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["pids", "cpu", "cpuacct", "memory", "blkio", "rdma"];
        let paths: Paths = names.iter().map(|name| (*name, dir.path())).collect();
        let metrics = read(&paths).unwrap();
        assert_eq!(metrics.memory, None);
        assert_eq!(metrics.pids, None);
        assert_eq!(metrics.cpu, Some(Cpu::default()));
    }
}
