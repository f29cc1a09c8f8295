//! Image records.

use stowd_core::Error;
use stowd_core::images::Image;

use super::required;
use super::time::{time, timestamp};
use crate::services::images::v1;

impl From<Image> for v1::Image {
    fn from(image: Image) -> Self {
        Self {
            name: image.name,
            labels: image.labels,
            target: Some(image.target.into()),
            created_at: Some(timestamp(image.created)),
            updated_at: Some(timestamp(image.updated)),
        }
    }
}

impl TryFrom<v1::Image> for Image {
    type Error = Error;

    fn try_from(message: v1::Image) -> Result<Self, Error> {
        Ok(Self {
            name: message.name,
            target: required(message.target, "image target")?.try_into()?,
            labels: message.labels,
            created: time(message.created_at)?,
            updated: time(message.updated_at)?,
        })
    }
}
