//! Namespaces, which `core` has as a name and labels.

use stowd_core::{Error, Labels, Namespace};

use crate::services::namespaces::v1;

impl From<(Namespace, Labels)> for v1::Namespace {
    fn from((name, labels): (Namespace, Labels)) -> Self {
        Self { name: name.to_string(), labels }
    }
}

impl TryFrom<v1::Namespace> for (Namespace, Labels) {
    type Error = Error;

    fn try_from(message: v1::Namespace) -> Result<Self, Error> {
        Ok((Namespace::new(message.name)?, message.labels))
    }
}
