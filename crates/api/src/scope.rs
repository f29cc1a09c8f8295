//! The headers that carry a call's [`Scope`].

use stowd_core::{Error, Namespace, Result, Scope};

use crate::ttrpc::{self, KeyValue};

/// gRPC header with the namespace.
pub const NAMESPACE: &str = "containerd-namespace";
/// ttrpc metadata key with the namespace.
pub const NAMESPACE_TTRPC: &str = "containerd-namespace-ttrpc";
/// gRPC header with the lease that protects what the call makes.
pub const LEASE: &str = "containerd-lease";

/// Reads the scope of a ttrpc call. Leases do not travel over ttrpc.
///
/// # Errors
/// `FailedPrecondition` without a namespace, `InvalidArgument` with a bad one.
pub fn from_ttrpc(metadata: &[KeyValue]) -> Result<Scope> {
    namespace(ttrpc::metadata(metadata, NAMESPACE_TTRPC)).map(Scope::new)
}

/// Returns the metadata that carries a scope over ttrpc.
pub fn to_ttrpc(scope: &Scope) -> Vec<KeyValue> {
    vec![KeyValue { key: NAMESPACE_TTRPC.to_owned(), value: scope.namespace.to_string() }]
}

/// Reads the scope of a gRPC request.
///
/// # Errors
/// `FailedPrecondition` without a namespace, `InvalidArgument` with a bad one.
#[cfg(feature = "grpc")]
pub fn from_grpc(headers: &tonic::metadata::MetadataMap) -> Result<Scope> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scope = Scope::new(namespace(text(NAMESPACE))?);
    Ok(match text(LEASE) {
        None | Some("") => scope,
        Some(lease) => scope.with_lease(lease),
    })
}

/// Writes a scope into the headers of a gRPC request.
///
/// # Errors
/// `InvalidArgument` when the lease cannot be a header's value.
#[cfg(feature = "grpc")]
pub fn to_grpc(scope: &Scope, headers: &mut tonic::metadata::MetadataMap) -> Result<()> {
    let value = |text: &str| {
        text.parse()
            .map_err(|_| Error::invalid(format_args!("{text:?} cannot be sent as a header")))
    };
    headers.insert(NAMESPACE, value(scope.namespace.as_str())?);
    if let Some(lease) = &scope.lease {
        headers.insert(LEASE, value(lease)?);
    }
    Ok(())
}

fn namespace(name: Option<&str>) -> Result<Namespace> {
    match name {
        None | Some("") => Err(Error::failed_precondition("namespace is required")),
        Some(name) => Namespace::new(name).map_err(|error| error.context("namespace validation")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_namespace_is_said_in_containerds_words() {
        let error = from_ttrpc(&[]).unwrap_err();
        assert_eq!(error.to_string(), "namespace is required: failed precondition");
        assert!(
            from_ttrpc(&[KeyValue { key: NAMESPACE_TTRPC.into(), value: "a/b".into() }]).is_err()
        );
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn grpc_headers_round_trip() {
        let scope = Scope::new(Namespace::new("k8s.io").unwrap()).with_lease("l1");
        let mut headers = tonic::metadata::MetadataMap::new();
        to_grpc(&scope, &mut headers).unwrap();
        assert_eq!(from_grpc(&headers).unwrap(), scope);
    }
}
