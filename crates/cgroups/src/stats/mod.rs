//! What a container uses, with all that containerd's metrics messages carry.
//!
//! The fields are those of `io.containerd.cgroups.v1.Metrics` and `...v2.Metrics`, in their units
//! and under their names, so that the caller's conversion is a plain copy. A controller that is not
//! there leaves its part `None` or empty.

mod parse;
mod read_v1;
mod read_v2;
pub mod v1;
pub mod v2;

pub(crate) use read_v1::read as read_v1;
pub(crate) use read_v2::read as read_v2;

/// One reading of a cgroup's counters.
#[derive(Clone, Debug, PartialEq)]
pub enum Stats {
    /// Of a v1 or hybrid cgroup.
    V1(Box<v1::Metrics>),
    /// Of a v2 cgroup.
    V2(Box<v2::Metrics>),
}

/// Use of one RDMA device, or the limit on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaEntry {
    /// The device's name.
    pub device: String,
    /// Handles; the largest number means no limit.
    pub hca_handles: u32,
    /// Objects; the largest number means no limit.
    pub hca_objects: u32,
}

/// Use of RDMA devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rdma {
    /// In use now.
    pub current: Vec<RdmaEntry>,
    /// Limits.
    pub limit: Vec<RdmaEntry>,
}
