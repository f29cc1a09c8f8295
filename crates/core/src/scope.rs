//! On whose behalf a call is made.

use crate::Namespace;

/// The namespace that a call works in, and the lease that protects what it makes.
///
/// Every contract call that touches a namespaced object takes one. Over gRPC it travels as the
/// headers `containerd-namespace` and `containerd-lease`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Where all names of the call are looked up.
    pub namespace: Namespace,
    /// The lease to which all that the call creates is added, so that garbage collection spares it.
    pub lease: Option<String>,
}

impl Scope {
    /// Makes a scope without a lease.
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, lease: None }
    }

    /// Returns the same scope under a lease.
    #[must_use]
    pub fn with_lease(mut self, lease: impl Into<String>) -> Self {
        self.lease = Some(lease.into());
        self
    }
}
