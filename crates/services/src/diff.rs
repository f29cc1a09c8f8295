//! `containerd.services.diff.v1`: asks each differ in turn, until one can.

use std::sync::Arc;

use stowd_api::services::diff::v1 as api;
use stowd_core::diff::{Applier, Apply, Compare, Comparer, Source};
use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Error, ErrorKind, Result, Scope};
use tonic::Request;

use crate::request::{Answer, answer, finish, scoped};

/// Serves differs, in the order of preference.
pub struct Service {
    /// What applies layers.
    pub appliers: Vec<Arc<dyn Applier>>,
    /// What computes layers.
    pub comparers: Vec<Arc<dyn Comparer>>,
}

#[tonic::async_trait]
impl api::diff_server::Diff for Service {
    async fn apply(&self, request: Request<api::ApplyRequest>) -> Answer<api::ApplyResponse> {
        let (scope, request) = scoped(request)?;
        let appliers = self.appliers.clone();
        let applied = finish(async move { apply(&appliers, &scope, request).await });
        answer(applied.await, |layer| api::ApplyResponse { applied: Some(layer.into()) })
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Answer<api::DiffResponse> {
        let (scope, request) = scoped(request)?;
        let comparers = self.comparers.clone();
        let compared = finish(async move { compare(&comparers, &scope, request).await });
        answer(compared.await, |layer| api::DiffResponse { diff: Some(layer.into()) })
    }
}

async fn apply(
    appliers: &[Arc<dyn Applier>],
    scope: &Scope,
    request: api::ApplyRequest,
) -> Result<Descriptor> {
    let apply = Apply::try_from(request)?;
    let mut cannot = None;
    for applier in appliers {
        match applier.apply(scope, apply.clone(), Source::Stored).await {
            Err(error) if error.is(ErrorKind::NotImplemented) => cannot = Some(error),
            done => return done,
        }
    }
    Err(cannot.unwrap_or_else(no_differ))
}

async fn compare(
    comparers: &[Arc<dyn Comparer>],
    scope: &Scope,
    request: api::DiffRequest,
) -> Result<Descriptor> {
    let (lower, upper, compare): (Vec<Mount>, Vec<Mount>, Compare) = request.try_into()?;
    let mut cannot = None;
    for comparer in comparers {
        match comparer.compare(scope, &lower, &upper, compare.clone()).await {
            Err(error) if error.is(ErrorKind::NotImplemented) => cannot = Some(error),
            done => return done,
        }
    }
    Err(cannot.unwrap_or_else(no_differ))
}

fn no_differ() -> Error {
    Error::not_implemented("no differ is configured")
}
