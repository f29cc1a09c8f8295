//! Conversions between messages and `core`'s types, one module for each domain.
//!
//! From `core` to a message is always possible: `From`. From a message to `core` may fail, since
//! what comes off the wire may be anything: `TryFrom` with [`stowd_core::Error`], of kind
//! `InvalidArgument`. Where the two do not meet one to one, a module has functions instead, and
//! says why.
//!
//! ```
//! use stowd_api::types;
//! use stowd_core::Descriptor;
//! let wire = types::Descriptor { size: -1, ..Default::default() };
//! assert!(Descriptor::try_from(wire).is_err());
//! ```

pub mod containers;
pub mod content;
pub mod diff;
pub mod events;
pub mod images;
pub mod introspection;
pub mod leases;
pub mod mounts;
pub mod namespaces;
pub mod sandboxes;
pub mod snapshots;
pub mod tasks;
pub mod time;
pub mod transfer;
mod types;

use prost_types::FieldMask;
use stowd_core::{Error, Result};

/// Returns a mask's paths; none when there is no mask, which contracts read as "all".
pub fn field_paths(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// Returns the mask of these paths, or no mask when there are none.
pub fn field_mask(paths: &[String]) -> Option<FieldMask> {
    (!paths.is_empty()).then(|| FieldMask { paths: paths.to_vec() })
}

/// Returns a message's part, which must be there.
///
/// # Errors
/// `InvalidArgument`, naming the part, when it is not.
pub fn required<T>(part: Option<T>, name: &str) -> Result<T> {
    part.ok_or_else(|| Error::invalid(format_args!("{name} is required")))
}

/// Returns a length or offset, which must not be negative.
///
/// # Errors
/// `InvalidArgument`, naming it, when it is.
pub fn unsigned(number: i64, name: &str) -> Result<u64> {
    u64::try_from(number)
        .map_err(|_| Error::invalid(format_args!("{name} must not be negative: {number}")))
}

/// Returns a length or offset as messages carry it.
pub fn signed(number: u64) -> i64 {
    // Nothing on a disk is longer than 8 EiB.
    i64::try_from(number).unwrap_or(i64::MAX)
}
