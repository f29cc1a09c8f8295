//! The formats of the kernel's statistics files.

use std::path::Path;

use super::v2::{Pressure, PressureData};
use super::{Rdma, RdmaEntry};
use crate::{Result, file};

/// Reads `dir/name` as lines of a key and a number and hands each to `take`; `false` when there is no
/// such file.
pub(super) fn each_pair(dir: &Path, name: &str, mut take: impl FnMut(&str, u64)) -> Result<bool> {
    let Some(text) = file::read_if_there(dir, name)? else { return Ok(false) };
    for line in text.lines() {
        let (key, value) = line.split_once(' ').ok_or_else(|| file::bad(dir, name, line))?;
        take(key, file::number(value).ok_or_else(|| file::bad(dir, name, line))?);
    }
    Ok(true)
}

/// Reads the number in `dir/name`, zero if there is no such file.
pub(super) fn number_or_zero(dir: &Path, name: &str) -> Result<u64> {
    Ok(file::read_number_if_there(dir, name)?.unwrap_or(0))
}

/// Reads `rdma.current` and `rdma.max`; `None` if there is no such controller.
pub(super) fn rdma(dir: &Path) -> Result<Option<Rdma>> {
    let Some(current) = file::read_if_there(dir, "rdma.current")? else { return Ok(None) };
    let limit = file::read_if_there(dir, "rdma.max")?.unwrap_or_default();
    Ok(Some(Rdma { current: rdma_entries(&current), limit: rdma_entries(&limit) }))
}

/// Reads a pressure file; `None` where the kernel does not measure.
pub(super) fn pressure(dir: &Path, name: &str) -> Option<Pressure> {
    // Switched off, the file is there and refuses to be read.
    let text = file::read(dir, name).ok()?;
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let data = Some(pressure_data(rest)?);
        match kind {
            "some" => pressure.some = data,
            "full" => pressure.full = data,
            _ => {}
        }
    }
    Some(pressure)
}

/// The sizes of huge pages this machine has, as cgroup files name them: `64KB`, `2MB`, `1GB`.
pub(super) fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(huge_page_name).collect()
}

fn huge_page_name(kilobytes: u64) -> String {
    match kilobytes {
        0..1024 => format!("{kilobytes}KB"),
        1024..1_048_576 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    }
}

fn rdma_entries(text: &str) -> Vec<RdmaEntry> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let mut entry = RdmaEntry { device: fields.next()?.into(), ..RdmaEntry::default() };
            for field in fields {
                let (key, value) = field.split_once('=')?;
                let value = if value == "max" { u32::MAX } else { value.parse().ok()? };
                match key {
                    "hca_handle" => entry.hca_handles = value,
                    "hca_object" => entry.hca_objects = value,
                    _ => {}
                }
            }
            Some(entry)
        })
        .collect()
}

fn pressure_data(text: &str) -> Option<PressureData> {
    let mut data = PressureData::default();
    for field in text.split_ascii_whitespace() {
        let (key, value) = field.split_once('=')?;
        match key {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            "total" => data.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_lines() {
        let dir = tempfile::tempdir().unwrap();
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        std::fs::write(dir.path().join("cpu.pressure"), text).unwrap();
        let pressure = pressure(dir.path(), "cpu.pressure").unwrap();
        let some = pressure.some.unwrap();
        assert!((some.avg10 - 1.5).abs() < f64::EPSILON);
        assert_eq!((some.total, pressure.full.unwrap().total), (42, 7));
    }

    #[test]
    fn rdma_lines() {
        let entries = rdma_entries("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=max\n");
        assert_eq!(entries[0].hca_objects, 2000);
        assert_eq!(entries[1].hca_handles, u32::MAX);
    }

    #[test]
    fn page_sizes() {
        let names = [64, 2048, 1_048_576].map(huge_page_name);
        assert_eq!(names, ["64KB", "2MB", "1GB"]);
    }
}
