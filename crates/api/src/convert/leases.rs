//! Leases and what they hold.

use stowd_core::Error;
use stowd_core::leases::{Lease, Resource};

use super::time::{time, timestamp};
use crate::services::leases::v1;

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        Self { id: lease.id, created_at: Some(timestamp(lease.created)), labels: lease.labels }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Error;

    fn try_from(message: v1::Lease) -> Result<Self, Error> {
        Ok(Self { id: message.id, labels: message.labels, created: time(message.created_at)? })
    }
}

impl From<Resource> for v1::Resource {
    fn from(resource: Resource) -> Self {
        Self { id: resource.id, r#type: resource.kind }
    }
}

impl From<v1::Resource> for Resource {
    fn from(message: v1::Resource) -> Self {
        Self { kind: message.r#type, id: message.id }
    }
}
