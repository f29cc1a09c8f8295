//! A value whose type only its owner knows.

use bytes::Bytes;

/// A typed value that stowd stores and passes on without looking inside.
///
/// For protobuf messages `type_url` is the full name (`containerd.runc.v1.Options`) and `value` the
/// encoded message; for the OCI specs (`types.containerd.io/opencontainers/runtime-spec/1/Spec`)
/// `value` is JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Any {
    /// What the value is.
    pub type_url: String,
    /// The value, in the encoding that its type implies.
    pub value: Bytes,
}
