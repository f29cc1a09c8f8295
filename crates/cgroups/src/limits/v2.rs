//! Limits in v2's files.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::convert::{cpu_shares_to_weight, io_weight, memory_swap_to_v2};
use super::{NO_LIMIT, pids_max, set_hugetlb, set_rdma, throttles, wanted};
use crate::resources::{Cpu, Memory, Resources};
use crate::{Error, Result, devices, file};

/// Writes all limits that `resources` has.
pub(crate) fn set(path: &Path, resources: &Resources) -> Result<()> {
    let Resources { memory, cpu, .. } = resources;
    if let Some(limit) = wanted(resources.pids_limit) {
        explain(path, "pids", file::write(path, "pids.max", &pids_max(limit)))?;
    }
    explain(path, "memory", set_memory(path, memory))?;
    explain(path, "io", set_io(path, resources))?;
    explain(path, "cpu", set_cpu(path, cpu))?;
    if let Some(rules) = &resources.devices {
        devices::attach(path, rules)?;
    }
    for (name, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            explain(path, "cpuset", file::write(path, name, value))?;
        }
    }
    explain(path, "hugetlb", set_hugetlb(path, resources, "max"))?;
    explain(path, "rdma", set_rdma(path, resources))?;
    resources.unified.iter().try_for_each(|(name, text)| set_unified(path, name, text))
}

/// Tells a missing controller from other reasons for a missing file.
fn explain(path: &Path, controller: &str, result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_not_found() && !has(path, controller) => {
            Err(Error::NoController { controller: controller.into(), need: NO_LIMIT })
        }
        result => result,
    }
}

fn has(path: &Path, controller: &str) -> bool {
    file::read(path, "cgroup.controllers")
        .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller))
}

fn set_memory(path: &Path, memory: &Memory) -> Result<()> {
    let (limit, swap) = (wanted(memory.limit), wanted(memory.swap));
    if memory.check_before_update {
        check_usage(path, limit, swap)?;
    }
    if let Some(swap) = memory_swap_to_v2(swap, limit)? {
        match file::write(path, "memory.swap.max", &number_or_max(swap)) {
            // Without swap accounting nothing can be swapped out, or counted if it is.
            Err(error) if error.errno() == Some(Errno::NOENT) && matches!(swap, 0 | -1) => {}
            result => result?,
        }
    }
    if let Some(limit) = limit {
        file::write(path, "memory.max", &number_or_max(limit))?;
    }
    if let Some(reservation) = wanted(memory.reservation) {
        file::write(path, "memory.low", &number_or_max(reservation))?;
    }
    Ok(())
}

fn check_usage(path: &Path, limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    // Best effort: a cgroup that tells no usage has none.
    let Ok(usage) = file::read_number(path, "memory.current") else { return Ok(()) };
    for (what, limit) in [("memory+swap", swap), ("memory", limit)] {
        if let Some(limit) = limit
            && limit > 0
            && limit.unsigned_abs() <= usage
        {
            return Err(Error::LimitBelowUsage(format!(
                "rejecting {what} limit {limit} <= usage {usage}"
            )));
        }
    }
    Ok(())
}

fn number_or_max(value: i64) -> String {
    if value == -1 { "max".into() } else { value.to_string() }
}

fn set_io(path: &Path, resources: &Resources) -> Result<()> {
    let io = &resources.block_io;
    if wanted(io.weight).is_some() || !io.weight_device.is_empty() {
        let bfq = bfq_weight(path)?;
        match (wanted(io.weight), bfq) {
            (None, _) => {}
            (Some(weight), Bfq::Absent) => {
                file::write_number(path, "io.weight", io_weight(weight))?;
            }
            (Some(weight), _) => file::write_number(path, BFQ_WEIGHT, weight)?,
        }
        if bfq == Bfq::PerDevice {
            for device in &io.weight_device {
                if let Some(weight) = wanted(device.weight) {
                    let line = format!("{}:{} {weight}\n", device.major, device.minor);
                    file::write(path, BFQ_WEIGHT, &line)?;
                }
            }
        }
    }
    for (_, name, devices) in throttles(resources) {
        for device in devices {
            let line = format!("{}:{} {name}={}", device.major, device.minor, device.rate);
            file::write(path, "io.max", &line)?;
        }
    }
    Ok(())
}

const BFQ_WEIGHT: &str = "io.bfq.weight";

#[derive(Clone, Copy, PartialEq)]
enum Bfq {
    Absent,
    /// One weight for all devices (before Linux 5.4).
    Plain,
    PerDevice,
}

fn bfq_weight(path: &Path) -> Result<Bfq> {
    Ok(match file::read_if_there(path, BFQ_WEIGHT)? {
        None => Bfq::Absent,
        Some(text) if text.trim_ascii().parse::<u64>().is_ok() => Bfq::Plain,
        Some(_) => Bfq::PerDevice,
    })
}

fn set_cpu(path: &Path, cpu: &Cpu) -> Result<()> {
    if let Some(idle) = cpu.idle {
        file::write_number(path, "cpu.idle", idle)?;
    }
    if let Some(shares) = wanted(cpu.shares) {
        file::write_number(path, "cpu.weight", cpu_shares_to_weight(shares))?;
    }
    let (quota, period) = (wanted(cpu.quota), wanted(cpu.period));
    let mut burst = cpu.burst;
    if let Some(value) = burst {
        match file::write_number(path, "cpu.max.burst", value) {
            Ok(()) => burst = None,
            // It may fit the new quota.
            Err(error) if error.errno() == Some(Errno::INVAL) && quota.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    if quota.is_some() || period.is_some() {
        let quota =
            quota.filter(|quota| *quota > 0).map_or("max".into(), |quota| quota.to_string());
        // The kernel's default period.
        let period = period.unwrap_or(100_000);
        file::write(path, "cpu.max", &format!("{quota} {period}"))?;
        if let Some(burst) = burst {
            file::write_number(path, "cpu.max.burst", burst)?;
        }
    }
    Ok(())
}

fn set_unified(path: &Path, name: &str, text: &str) -> Result<()> {
    if name.contains('/') || name == ".." {
        return Err(Error::InvalidLimit(format!(
            "unified resource {name:?} must be a file name (no slashes)"
        )));
    }
    let error = match write_lines(path, name, text) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if matches!(error.errno(), Some(Errno::PERM | Errno::ACCESS | Errno::NOENT)) {
        let Some((controller, _)) = name.split_once('.') else {
            return Err(Error::InvalidLimit(format!(
                "unified resource {name:?} must be in the form CONTROLLER.PARAMETER"
            )));
        };
        if controller != "cgroup" && !has(path, controller) {
            return Err(Error::InvalidLimit(format!(
                "unified resource {name:?} can't be set: controller {controller:?} not available"
            )));
        }
    }
    Err(error)
}

/// Writes one line at a time, as files with a line per device want it.
fn write_lines(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let failed = |value: &str| {
        let (path, value) = (path.clone(), value.to_owned());
        move |source| Error::Write { path, value, source }
    };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = openat(CWD, &path, flags, Mode::empty()).map_err(failed(text))?;
    if text.is_empty() {
        return file::write_all(&fd, b"").map_err(failed(text));
    }
    text.split_inclusive('\n')
        .try_for_each(|line| file::write_all(&fd, line.as_bytes()).map_err(failed(line)))
}

#[cfg(test)]
mod tests;
