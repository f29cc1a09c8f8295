//! What a task's measurements say, and what its runtime says of a process.

mod json;

use stowd_api::runc::v1::ProcessDetails;
use stowd_api::{Any, cgroups};
use stowd_core::tasks::{Metric, ProcessInfo};
use stowd_core::{Error, Result};

/// One task's numbers, of whichever version of cgroups the host has. In JSON they are what Go's
/// clients print.
#[derive(Clone, Debug, PartialEq)]
pub enum Metrics {
    /// Version 1.
    V1(Box<cgroups::v1::Metrics>),
    /// Version 2.
    V2(Box<cgroups::v2::Metrics>),
}

/// Reads a measurement.
///
/// # Errors
/// `NotImplemented` for numbers of another kind, `InvalidArgument` when they do not decode.
pub fn read(metric: &Metric) -> Result<Metrics> {
    let data = Any::from(metric.data.clone());
    let damaged = |error| Error::invalid(format_args!("metrics of {:?}: {error}", metric.id));
    if let Some(v1) = data.unpack().map_err(damaged)? {
        return Ok(Metrics::V1(Box::new(v1)));
    }
    if let Some(v2) = data.unpack().map_err(damaged)? {
        return Ok(Metrics::V2(Box::new(v2)));
    }
    Err(Error::not_implemented(format_args!("metrics of type {:?}", data.type_url)))
}

/// Returns the exec id of a listed process, where the runtime says that it is an exec.
pub fn exec_id_of(process: &ProcessInfo) -> Option<String> {
    let info = Any::from(process.info.clone()?);
    Some(info.unpack::<ProcessDetails>().ok()??.exec_id)
}
