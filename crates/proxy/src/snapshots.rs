//! [`snapshots::Snapshotter`] over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use stowd_api::convert::{field_mask, required};
use stowd_api::services::snapshots::v1::{self, snapshots_client::SnapshotsClient};
use stowd_api::types;
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::snapshots::{self, Commit, Info, Usage};
use stowd_core::{Chunks, Labels, Result, Scope};
use tonic::transport::Channel;

use crate::call::{all, chunks, client, failed, scoped};

/// One of a daemon's snapshotters.
#[derive(Clone, Debug)]
pub struct Snapshots {
    client: SnapshotsClient<Channel>,
    name: String,
}

/// All of a daemon's snapshotters.
///
/// It answers to every name, since only the daemon knows which there are, and knows no
/// capabilities: those are in the daemon's introspection.
#[derive(Clone, Debug)]
pub struct Snapshotters {
    channel: Channel,
}

impl Snapshots {
    /// Makes the snapshotter of this name at the other end of a channel.
    pub fn new(channel: Channel, name: impl Into<String>) -> Self {
        Self { client: client!(SnapshotsClient<Channel>, channel), name: name.into() }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn client(&self) -> SnapshotsClient<Channel> {
        self.client.clone()
    }
}

impl Snapshotters {
    /// Makes the snapshotters at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { channel }
    }
}

impl snapshots::Snapshotters for Snapshotters {
    fn snapshotter(&self, name: &str) -> Result<Arc<dyn snapshots::Snapshotter>> {
        Ok(Arc::new(Snapshots::new(self.channel.clone(), name)))
    }

    fn capabilities(&self, _: &str) -> &[&'static str] {
        &[]
    }
}

#[async_trait]
impl snapshots::Snapshotter for Snapshots {
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Info> {
        let request =
            v1::StatSnapshotRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        let answer = self.client().stat(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info> {
        let request = v1::UpdateSnapshotRequest {
            snapshotter: self.name.clone(),
            info: Some(info.into()),
            update_mask: field_mask(fieldpaths),
        };
        let answer = self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn usage(&self, scope: &Scope, key: &str) -> Result<Usage> {
        let request = v1::UsageRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        let answer = self.client().usage(scoped(scope, request)?).await.map_err(failed)?;
        answer.into_inner().try_into()
    }

    async fn mounts(&self, scope: &Scope, key: &str) -> Result<Vec<Mount>> {
        let request = v1::MountsRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        let answer = self.client().mounts(scoped(scope, request)?).await.map_err(failed)?;
        Ok(mounts(answer.into_inner().mounts))
    }

    async fn prepare(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        let request = v1::PrepareSnapshotRequest {
            snapshotter: self.name.clone(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels,
        };
        let answer = self.client().prepare(scoped(scope, request)?).await.map_err(failed)?;
        Ok(mounts(answer.into_inner().mounts))
    }

    async fn view(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        let request = v1::ViewSnapshotRequest {
            snapshotter: self.name.clone(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels,
        };
        let answer = self.client().view(scoped(scope, request)?).await.map_err(failed)?;
        Ok(mounts(answer.into_inner().mounts))
    }

    async fn commit(&self, scope: &Scope, name: &str, key: &str, commit: Commit) -> Result<()> {
        let request = v1::CommitSnapshotRequest {
            snapshotter: self.name.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: commit.labels,
            parent: commit.parent.unwrap_or_default(),
        };
        self.client().commit(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn remove(&self, scope: &Scope, key: &str) -> Result<()> {
        let request =
            v1::RemoveSnapshotRequest { snapshotter: self.name.clone(), key: key.to_owned() };
        self.client().remove(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>> {
        let request =
            v1::ListSnapshotsRequest { snapshotter: self.name.clone(), filters: filters.texts() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        Ok(chunks(answer.into_inner(), |answer: v1::ListSnapshotsResponse| all(answer.info)))
    }

    async fn cleanup(&self, scope: &Scope) -> Result<()> {
        let request = v1::CleanupRequest { snapshotter: self.name.clone() };
        self.client().cleanup(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}

fn mounts(messages: Vec<types::Mount>) -> Vec<Mount> {
    messages.into_iter().map(Mount::from).collect()
}
