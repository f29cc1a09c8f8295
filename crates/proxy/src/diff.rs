//! [`diff::Applier`](stowd_core::diff::Applier) and [`diff::Comparer`](stowd_core::diff::Comparer)
//! over gRPC.

use async_trait::async_trait;
use stowd_api::convert::diff::diff_request;
use stowd_api::convert::required;
use stowd_api::services::diff::v1::diff_client::DiffClient;
use stowd_core::diff::{Applier, Apply, Compare, Comparer, Placement, Source};
use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Error, Result, Scope};
use tonic::transport::Channel;

use crate::call::{client, failed, scoped};

/// A daemon's applier and comparer of layers. It applies layers from the content store only, and
/// onto their parents only.
#[derive(Clone, Debug)]
pub struct Diff {
    client: DiffClient<Channel>,
}

impl Diff {
    /// Makes the applier and comparer at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(DiffClient<Channel>, channel) }
    }
}

#[async_trait]
impl Applier for Diff {
    async fn apply(&self, scope: &Scope, apply: Apply, source: Source) -> Result<Descriptor> {
        if !matches!(source, Source::Stored) {
            return Err(Error::not_implemented("apply a layer from a stream over gRPC"));
        }
        if apply.placement != Placement::OnParents {
            return Err(Error::not_implemented("apply a layer onto a detached tree over gRPC"));
        }
        let request = scoped(scope, apply.into())?;
        let answer = self.client.clone().apply(request).await.map_err(failed)?;
        required(answer.into_inner().applied, "applied")?.try_into()
    }
}

#[async_trait]
impl Comparer for Diff {
    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        compare: Compare,
    ) -> Result<Descriptor> {
        let request = scoped(scope, diff_request(lower, upper, compare))?;
        let answer = self.client.clone().diff(request).await.map_err(failed)?;
        required(answer.into_inner().diff, "diff")?.try_into()
    }
}
