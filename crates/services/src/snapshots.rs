//! `containerd.services.snapshots.v1`.

use std::sync::Arc;

use stowd_api::services::snapshots::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::snapshots::{Commit, Snapshotter, Snapshotters};
use stowd_core::{Error, Result};
use tonic::Request;

use crate::request::{Answer, Sent, answer, chunked, field_paths, finish, required, scoped};

/// Serves the snapshotters.
pub struct Service(pub Arc<dyn Snapshotters>);

impl Service {
    fn named(&self, name: &str) -> Result<Arc<dyn Snapshotter>> {
        if name.is_empty() {
            return Err(Error::invalid("snapshotter argument missing"));
        }
        self.0.snapshotter(name)
    }
}

#[tonic::async_trait]
impl api::snapshots_server::Snapshots for Service {
    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Answer<api::PrepareSnapshotResponse> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let made = finish(async move {
            let parent = parent(&request.parent);
            snapshotter?.prepare(&scope, &request.key, parent, request.labels).await
        });
        answer(made.await, |mounts| api::PrepareSnapshotResponse {
            mounts: mounts.into_iter().map(Into::into).collect(),
        })
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Answer<api::ViewSnapshotResponse> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let made = finish(async move {
            let parent = parent(&request.parent);
            snapshotter?.view(&scope, &request.key, parent, request.labels).await
        });
        answer(made.await, |mounts| api::ViewSnapshotResponse {
            mounts: mounts.into_iter().map(Into::into).collect(),
        })
    }

    async fn mounts(&self, request: Request<api::MountsRequest>) -> Answer<api::MountsResponse> {
        let (scope, request) = scoped(request)?;
        let got = async { self.named(&request.snapshotter)?.mounts(&scope, &request.key).await };
        answer(got.await, |mounts| api::MountsResponse {
            mounts: mounts.into_iter().map(Into::into).collect(),
        })
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let committed = finish(async move {
            let commit = Commit {
                labels: request.labels,
                parent: parent(&request.parent).map(str::to_owned),
            };
            snapshotter?.commit(&scope, &request.name, &request.key, commit).await
        });
        answer(committed.await, |()| ())
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let removed = finish(async move { snapshotter?.remove(&scope, &request.key).await });
        answer(removed.await, |()| ())
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Answer<api::StatSnapshotResponse> {
        let (scope, request) = scoped(request)?;
        let got = async { self.named(&request.snapshotter)?.stat(&scope, &request.key).await };
        answer(got.await, |info| api::StatSnapshotResponse { info: Some(info.into()) })
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Answer<api::UpdateSnapshotResponse> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let updated = finish(async move {
            let info = required(request.info, "info")?.try_into()?;
            snapshotter?.update(&scope, info, &field_paths(request.update_mask)).await
        });
        answer(updated.await, |info| api::UpdateSnapshotResponse { info: Some(info.into()) })
    }

    type ListStream = Sent<api::ListSnapshotsResponse>;

    async fn list(&self, request: Request<api::ListSnapshotsRequest>) -> Answer<Self::ListStream> {
        let (scope, request) = scoped(request)?;
        let listed = async {
            let filters = Filters::parse(&request.filters)?;
            self.named(&request.snapshotter)?.list(&scope, filters).await
        };
        chunked(listed.await, |infos| api::ListSnapshotsResponse {
            info: infos.into_iter().map(Into::into).collect(),
        })
    }

    async fn usage(&self, request: Request<api::UsageRequest>) -> Answer<api::UsageResponse> {
        let (scope, request) = scoped(request)?;
        let got = async { self.named(&request.snapshotter)?.usage(&scope, &request.key).await };
        answer(got.await, Into::into)
    }

    async fn cleanup(&self, request: Request<api::CleanupRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let snapshotter = self.named(&request.snapshotter);
        let cleaned = finish(async move { snapshotter?.cleanup(&scope).await });
        answer(cleaned.await, |()| ())
    }
}

fn parent(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}
