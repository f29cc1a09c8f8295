//! Snapshots.

use stowd_core::Error;
use stowd_core::snapshots::{Info, Kind, Usage};

use super::time::{time, timestamp};
use super::{signed, unsigned};
use crate::services::snapshots::v1;

/// Returns a parent, where a message names one.
pub fn parent(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

impl From<Kind> for v1::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::View => Self::View,
            Kind::Active => Self::Active,
            Kind::Committed => Self::Committed,
        }
    }
}

impl From<Info> for v1::Info {
    fn from(info: Info) -> Self {
        Self {
            name: info.name,
            parent: info.parent.unwrap_or_default(),
            kind: v1::Kind::from(info.kind).into(),
            created_at: Some(timestamp(info.created)),
            updated_at: Some(timestamp(info.updated)),
            labels: info.labels,
        }
    }
}

impl TryFrom<v1::Info> for Info {
    type Error = Error;

    /// An update may leave the kind out; it counts as active then, and cannot be changed anyway.
    fn try_from(message: v1::Info) -> Result<Self, Error> {
        let kind = match message.kind() {
            v1::Kind::View => Kind::View,
            v1::Kind::Active | v1::Kind::Unknown => Kind::Active,
            v1::Kind::Committed => Kind::Committed,
        };
        Ok(Self {
            kind,
            name: message.name,
            parent: parent(message.parent),
            labels: message.labels,
            created: time(message.created_at)?,
            updated: time(message.updated_at)?,
        })
    }
}

impl From<Usage> for v1::UsageResponse {
    fn from(usage: Usage) -> Self {
        Self { size: signed(usage.size), inodes: signed(usage.inodes) }
    }
}

impl TryFrom<v1::UsageResponse> for Usage {
    type Error = Error;

    fn try_from(message: v1::UsageResponse) -> Result<Self, Error> {
        Ok(Self {
            inodes: unsigned(message.inodes, "inodes")?,
            size: unsigned(message.size, "size")?,
        })
    }
}
