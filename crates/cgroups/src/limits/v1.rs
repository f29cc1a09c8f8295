//! Limits in v1's files.

use std::path::Path;

use rustix::io::Errno;

use super::{NO_LIMIT, make, pids_max, set_hugetlb, set_rdma, throttles, wanted};
use crate::path::Paths;
use crate::resources::{BlockIo, Cpu, Memory, Resources};
use crate::{Error, Result, devices, file};

/// Writes all limits that `resources` has, controller by controller.
pub(crate) fn set(paths: &Paths, resources: &Resources) -> Result<()> {
    if !resources.unified.is_empty() {
        return Err(Error::InvalidLimit(
            "invalid configuration: cannot use unified on cgroup v1".into(),
        ));
    }
    let with = |controller: &'static str, needed: bool| match paths.get(controller) {
        _ if !needed => Ok(None),
        Some(path) => Ok(Some(path)),
        None => Err(Error::NoController { controller: controller.into(), need: NO_LIMIT }),
    };
    let Resources { memory, cpu, block_io, network, .. } = resources;
    if let Some(path) = with("cpuset", !cpu.cpus.is_empty() || !cpu.mems.is_empty())? {
        set_cpuset(path, cpu)?;
    }
    if let Some(rules) = &resources.devices
        && let Some(path) = with("devices", true)?
    {
        devices::apply(path, rules)?;
    }
    if let Some(path) = with("memory", *memory != Memory::default())? {
        set_memory(path, memory)?;
    }
    if let Some(path) = with("cpu", needs_cpu(cpu))? {
        set_cpu(path, cpu)?;
    }
    if let Some(limit) = wanted(resources.pids_limit)
        && let Some(path) = with("pids", true)?
    {
        file::write(path, "pids.max", &pids_max(limit))?;
    }
    if let Some(path) = with("blkio", *block_io != BlockIo::default())? {
        set_blkio(path, resources)?;
    }
    if let Some(path) = make::hybrid_hugetlb(paths, resources) {
        set_hugetlb(path, resources, "max")?;
    } else if let Some(path) = with("hugetlb", !resources.hugetlb.is_empty())? {
        set_hugetlb(path, resources, "limit_in_bytes")?;
    }
    if let Some(class) = wanted(network.class_id)
        && let Some(path) = with("net_cls", true)?
    {
        file::write_number(path, "net_cls.classid", class)?;
    }
    if let Some(path) = with("net_prio", !network.priorities.is_empty())? {
        for entry in &network.priorities {
            let line = format!("{} {}", entry.name, entry.priority);
            file::write(path, "net_prio.ifpriomap", &line)?;
        }
    }
    if let Some(path) = with("rdma", !resources.rdma.is_empty())? {
        set_rdma(path, resources)?;
    }
    Ok(())
}

fn set_cpuset(path: &Path, cpu: &Cpu) -> Result<()> {
    for (name, short, value) in
        [("cpuset.cpus", "cpus", &cpu.cpus), ("cpuset.mems", "mems", &cpu.mems)]
    {
        if value.is_empty() {
            continue;
        }
        match file::write(path, name, value) {
            Err(error) if error.is_not_found() => file::write(path, short, value)?,
            result => result?,
        }
    }
    Ok(())
}

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

fn set_memory(path: &Path, memory: &Memory) -> Result<()> {
    let limit = wanted(memory.limit);
    let mut swap = wanted(memory.swap);
    if limit == Some(-1) && swap.is_none() && file::exists(&path.join(SWAP_LIMIT)) {
        // The limit on both can never be below the one on memory.
        swap = Some(-1);
    }
    let swap_first = match (limit, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(swap)) => file::read_number(path, LIMIT)? < swap.unsigned_abs(),
        _ => false,
    };
    if swap_first && let Some(swap) = swap {
        file::write_number(path, SWAP_LIMIT, swap)?;
    }
    if let Some(limit) = limit {
        set_memory_limit(path, limit)?;
    }
    if !swap_first && let Some(swap) = swap {
        file::write_number(path, SWAP_LIMIT, swap)?;
    }
    if let Some(reservation) = wanted(memory.reservation) {
        file::write_number(path, "memory.soft_limit_in_bytes", reservation)?;
    }
    if memory.disable_oom_killer {
        file::write(path, "memory.oom_control", "1")?;
    }
    match memory.swappiness {
        // A negative number in the JSON, as Docker once wrote it for "leave alone".
        None | Some(u64::MAX) => Ok(()),
        Some(value @ 0..=100) => file::write_number(path, "memory.swappiness", value),
        Some(value) => Err(Error::InvalidLimit(format!(
            "invalid memory swappiness value: {value} (valid range is 0-100)"
        ))),
    }
}

fn set_memory_limit(path: &Path, limit: i64) -> Result<()> {
    let error = match file::write_number(path, LIMIT, limit) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if error.errno() != Some(Errno::BUSY) {
        return Err(error);
    }
    let usage = file::read_number(path, "memory.usage_in_bytes")?;
    let peak = file::read_number(path, "memory.max_usage_in_bytes")?;
    Err(Error::LimitBelowUsage(format!(
        "unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
    )))
}

fn needs_cpu(cpu: &Cpu) -> bool {
    let placement = Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() };
    *cpu != placement
}

fn set_cpu(path: &Path, cpu: &Cpu) -> Result<()> {
    match wanted(cpu.shares) {
        None => {}
        // The kernel would quietly take the nearest.
        Some(..2) => return Err(invalid("the minimum allowed cpu-shares is 2")),
        Some(262_145..) => return Err(invalid("the maximum allowed cpu-shares is 262144")),
        Some(shares) => file::write_number(path, "cpu.shares", shares)?,
    }
    let quota = wanted(cpu.quota);
    // With the quota still the old one, the kernel can refuse a new period or burst that would be fine
    // with the new quota: try those again after it.
    let mut retry: Vec<(&str, u64)> = Vec::new();
    if let Some(period) = wanted(cpu.period) {
        try_first(path, "cpu.cfs_period_us", period, quota.is_some(), &mut retry)?;
    }
    if let Some(burst) = cpu.burst {
        match try_first(path, "cpu.cfs_burst_us", burst, quota.is_some(), &mut retry) {
            // Kernels before 5.14 have no burst.
            Err(error) if error.is_not_found() => {}
            result => result?,
        }
    }
    if let Some(quota) = quota {
        file::write_number(path, "cpu.cfs_quota_us", quota)?;
        for (name, value) in retry {
            file::write_number(path, name, value)?;
        }
    }
    if let Some(idle) = cpu.idle {
        file::write_number(path, "cpu.idle", idle)?;
    }
    let runtime = wanted(cpu.realtime_runtime);
    let mut retry = Vec::new();
    if let Some(period) = wanted(cpu.realtime_period) {
        try_first(path, "cpu.rt_period_us", period, runtime.is_some(), &mut retry)?;
    }
    if let Some(runtime) = runtime {
        file::write_number(path, "cpu.rt_runtime_us", runtime)?;
        for (name, value) in retry {
            file::write_number(path, name, value)?;
        }
    }
    Ok(())
}

/// Writes `value`, or remembers it for later when the kernel finds it invalid and `later` may help.
fn try_first<'a>(
    path: &Path,
    name: &'a str,
    value: u64,
    later: bool,
    retry: &mut Vec<(&'a str, u64)>,
) -> Result<()> {
    match file::write_number(path, name, value) {
        Err(error) if error.errno() == Some(Errno::INVAL) && later => {
            retry.push((name, value));
            Ok(())
        }
        result => result,
    }
}

fn set_blkio(path: &Path, resources: &Resources) -> Result<()> {
    let io = &resources.block_io;
    if wanted(io.weight).is_some() || !io.weight_device.is_empty() {
        let prefix = if file::exists(&path.join("blkio.weight")) { "blkio" } else { "blkio.bfq" };
        if let Some(weight) = wanted(io.weight) {
            file::write_number(path, &format!("{prefix}.weight"), weight)?;
        }
        for device in &io.weight_device {
            let line = |weight| format!("{}:{} {weight}", device.major, device.minor);
            if let Some(weight) = wanted(device.weight) {
                file::write(path, &format!("{prefix}.weight_device"), &line(weight))?;
            }
            if let Some(weight) = wanted(device.leaf_weight) {
                file::write(path, "blkio.leaf_weight_device", &line(weight))?;
            }
        }
    }
    if let Some(weight) = wanted(io.leaf_weight) {
        file::write_number(path, "blkio.leaf_weight", weight)?;
    }
    for (name, _, devices) in throttles(resources) {
        for device in devices {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            file::write(path, name, &line)?;
        }
    }
    Ok(())
}

fn invalid(text: &str) -> Error {
    Error::InvalidLimit(text.into())
}

#[cfg(test)]
mod tests;
