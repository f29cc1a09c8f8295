//! Making a container's cgroups and writing limits into them.

mod convert;
mod make;
mod v1;
mod v2;

use std::path::Path;

pub use convert::{cpu_shares_to_weight, memory_swap_to_v2};
pub(crate) use make::make;
pub(crate) use v1::set as set_v1;
pub(crate) use v2::set as set_v2;

use crate::resources::{Resources, ThrottleDevice};
use crate::{Error, Result, file};

/// Why a limit cannot be set without its controller, as runc words it.
const NO_LIMIT: &str = "cannot set limit: container could not join or create cgroup";

/// The value for `pids.max`.
fn pids_max(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

/// Writes the limits on RDMA devices, the same on v1 and v2.
fn set_rdma(path: &Path, resources: &Resources) -> Result<()> {
    for limit in &resources.rdma {
        let mut line = limit.device.clone();
        for (name, value) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)]
        {
            if let Some(value) = value {
                line.push_str(&format!(" {name}={value}"));
            }
        }
        file::write(path, "rdma.max", &line)?;
    }
    Ok(())
}

/// Writes a huge page limit and, where the kernel has it (5.7 and later), the one on reservations.
fn set_hugetlb(path: &Path, resources: &Resources, suffix: &str) -> Result<()> {
    for limit in &resources.hugetlb {
        let size = &limit.page_size;
        if !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::InvalidLimit(format!("invalid huge page size {size:?}")));
        }
        file::write_number(path, &format!("hugetlb.{size}.{suffix}"), limit.limit)?;
        match file::write_number(path, &format!("hugetlb.{size}.rsvd.{suffix}"), limit.limit) {
            Err(error) if error.is_not_found() => {}
            result => result?,
        }
    }
    Ok(())
}

/// The four lists of rates, each with its name in v1's files and in v2's `io.max`.
fn throttles(resources: &Resources) -> [(&'static str, &'static str, &[ThrottleDevice]); 4] {
    let io = &resources.block_io;
    [
        ("blkio.throttle.read_bps_device", "rbps", &io.throttle_read_bps),
        ("blkio.throttle.write_bps_device", "wbps", &io.throttle_write_bps),
        ("blkio.throttle.read_iops_device", "riops", &io.throttle_read_iops),
        ("blkio.throttle.write_iops_device", "wiops", &io.throttle_write_iops),
    ]
}

/// `Some` unless absent or, which the spec's users mean the same by, zero.
fn wanted<N: Copy + Default + PartialEq>(value: Option<N>) -> Option<N> {
    value.filter(|value| *value != N::default())
}
