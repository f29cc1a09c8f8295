//! Typed values in messages.

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

/// `google.protobuf.Any`, with its value as [`Bytes`]: unpacking a message that came off the wire
/// does not copy the value, however large.
///
/// ```
/// use stowd_api::{Any, events::TaskStart};
/// let any = Any::pack(&TaskStart { container_id: "c".into(), pid: 7 });
/// assert_eq!(any.type_url, "containerd.events.TaskStart");
/// assert_eq!(any.unpack::<TaskStart>().unwrap().unwrap().pid, 7);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Any {
    /// What the value is: a message's full name, or another URL that its owner knows.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The value: for messages their encoding, for OCI specs JSON.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Name for Any {
    const PACKAGE: &'static str = "google.protobuf";
    const NAME: &'static str = "Any";
}

impl Any {
    /// Packs a message under its full name, without a host before it, as containerd does.
    pub fn pack<M: Name>(message: &M) -> Self {
        Self { type_url: M::full_name(), value: message.encode_to_vec().into() }
    }

    /// Says whether the value is a message of this type. What comes before the last `/` of the URL
    /// does not count.
    pub fn is<M: Name>(&self) -> bool {
        let name = self.type_url.rsplit_once('/').map_or(&*self.type_url, |(_, name)| name);
        name.strip_prefix(M::PACKAGE).and_then(|rest| rest.strip_prefix('.')) == Some(M::NAME)
    }

    /// Unpacks the message if it is of this type.
    ///
    /// # Errors
    /// When the type fits but the value does not decode.
    pub fn unpack<M: Name + Default>(&self) -> Result<Option<M>, DecodeError> {
        if self.is::<M>() { M::decode(self.value.clone()).map(Some) } else { Ok(None) }
    }
}

impl From<stowd_core::Any> for Any {
    fn from(any: stowd_core::Any) -> Self {
        Self { type_url: any.type_url, value: any.value }
    }
}

impl From<Any> for stowd_core::Any {
    fn from(any: Any) -> Self {
        Self { type_url: any.type_url, value: any.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ImageCreate, TaskExit};

    #[test]
    fn knows_its_type_with_and_without_a_host() {
        let mut any = Any::pack(&TaskExit { pid: 3, ..TaskExit::default() });
        assert!(any.is::<TaskExit>());
        any.type_url.insert_str(0, "type.googleapis.com/");
        assert!(any.is::<TaskExit>());
        assert!(!any.is::<ImageCreate>());
        assert!(any.unpack::<ImageCreate>().unwrap().is_none());
    }

    #[test]
    fn image_events_keep_their_odd_package() {
        let any = Any::pack(&ImageCreate::default());
        assert_eq!(any.type_url, "containerd.services.images.v1.ImageCreate");
    }

    #[test]
    fn a_damaged_value_is_an_error() {
        let any = Any { value: Bytes::from_static(&[0x08]), ..Any::pack(&TaskExit::default()) };
        assert!(any.unpack::<TaskExit>().is_err());
    }
}
