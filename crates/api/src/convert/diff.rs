//! Layers to apply and to compute.

use stowd_core::diff::{Apply, Compare, Placement, Sync};
use stowd_core::mount::Mount;
use stowd_core::{Any, Error};

use super::required;
use super::time::{optional_time, timestamp};
use crate::services::diff::v1;
use crate::types;

impl TryFrom<v1::ApplyRequest> for Apply {
    type Error = Error;

    /// The layer comes from the content store and goes onto its parents: the message knows nothing
    /// else.
    fn try_from(message: v1::ApplyRequest) -> Result<Self, Error> {
        Ok(Self {
            layer: required(message.diff, "diff")?.try_into()?,
            mounts: message.mounts.into_iter().map(Mount::from).collect(),
            placement: Placement::OnParents,
            sync: if message.sync_fs { Sync::Now } else { Sync::Later },
            payloads: message.payloads.into_iter().map(|(k, any)| (k, Any::from(any))).collect(),
        })
    }
}

impl From<Apply> for v1::ApplyRequest {
    /// The placement stays behind; only [`Placement::OnParents`] can be asked for.
    fn from(apply: Apply) -> Self {
        Self {
            diff: Some(apply.layer.into()),
            mounts: apply.mounts.into_iter().map(types::Mount::from).collect(),
            payloads: apply.payloads.into_iter().map(|(k, any)| (k, any.into())).collect(),
            sync_fs: apply.sync == Sync::Now,
        }
    }
}

impl TryFrom<v1::DiffRequest> for (Vec<Mount>, Vec<Mount>, Compare) {
    type Error = Error;

    /// Lower tree, upper tree, and what to write.
    fn try_from(message: v1::DiffRequest) -> Result<Self, Error> {
        let mounts = |list: Vec<types::Mount>| list.into_iter().map(Mount::from).collect();
        let compare = Compare {
            media_type: message.media_type,
            reference: message.r#ref,
            labels: message.labels,
            source_date_epoch: optional_time(message.source_date_epoch)?,
        };
        Ok((mounts(message.left), mounts(message.right), compare))
    }
}

/// Makes the request for a comparison.
pub fn diff_request(lower: &[Mount], upper: &[Mount], compare: Compare) -> v1::DiffRequest {
    let mounts = |list: &[Mount]| list.iter().cloned().map(types::Mount::from).collect();
    v1::DiffRequest {
        left: mounts(lower),
        right: mounts(upper),
        media_type: compare.media_type,
        r#ref: compare.reference,
        labels: compare.labels,
        source_date_epoch: compare.source_date_epoch.map(timestamp),
    }
}
