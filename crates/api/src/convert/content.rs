//! Blobs and ingests.

use stowd_core::Error;
use stowd_core::content::{Info, IngestStatus};

use super::time::{time, timestamp};
use super::{signed, unsigned};
use crate::services::content::v1;

impl From<Info> for v1::Info {
    fn from(info: Info) -> Self {
        Self {
            digest: info.digest.into(),
            size: signed(info.size),
            created_at: Some(timestamp(info.created)),
            updated_at: Some(timestamp(info.updated)),
            labels: info.labels,
        }
    }
}

impl TryFrom<v1::Info> for Info {
    type Error = Error;

    fn try_from(message: v1::Info) -> Result<Self, Error> {
        Ok(Self {
            digest: message.digest.parse()?,
            size: unsigned(message.size, "size")?,
            created: time(message.created_at)?,
            updated: time(message.updated_at)?,
            labels: message.labels,
        })
    }
}

impl From<IngestStatus> for v1::Status {
    fn from(status: IngestStatus) -> Self {
        Self {
            started_at: Some(timestamp(status.started)),
            updated_at: Some(timestamp(status.updated)),
            r#ref: status.reference,
            offset: signed(status.offset),
            total: signed(status.total),
            expected: status.expected.map(String::from).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Status> for IngestStatus {
    type Error = Error;

    fn try_from(message: v1::Status) -> Result<Self, Error> {
        let expected = match &*message.expected {
            "" => None,
            digest => Some(digest.parse()?),
        };
        Ok(Self {
            reference: message.r#ref,
            offset: unsigned(message.offset, "offset")?,
            total: unsigned(message.total, "total")?,
            expected,
            started: time(message.started_at)?,
            updated: time(message.updated_at)?,
        })
    }
}
