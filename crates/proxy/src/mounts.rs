//! [`mounts::Manager`](stowd_core::mounts::Manager) over gRPC.

use async_trait::async_trait;
use stowd_api::convert::required;
use stowd_api::services::mounts::v1::{self, mounts_client::MountsClient};
use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, Extent, Manager, Options};
use stowd_core::{Chunks, Error, Result, Scope};
use tonic::transport::Channel;

use crate::call::{chunks, client, failed, scoped};

/// A daemon's manager of mounts.
#[derive(Clone, Debug)]
pub struct Mounts {
    client: MountsClient<Channel>,
}

impl Mounts {
    /// Makes the manager of mounts at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(MountsClient<Channel>, channel) }
    }

    fn client(&self) -> MountsClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Manager for Mounts {
    /// The service has no word for mounts that the caller performs itself: `options.allowed` must be
    /// empty.
    async fn activate(
        &self,
        scope: &Scope,
        name: &str,
        mounts: Vec<Mount>,
        options: Options,
    ) -> Result<Activation> {
        if !options.allowed.is_empty() {
            return Err(Error::not_implemented("allowed kinds of mounts over gRPC"));
        }
        let request = v1::ActivateRequest {
            name: name.to_owned(),
            mounts: mounts.into_iter().map(Into::into).collect(),
            labels: options.labels,
            temporary: options.extent == Extent::All,
        };
        let answer = self.client().activate(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn deactivate(&self, scope: &Scope, name: &str) -> Result<()> {
        let request = v1::DeactivateRequest { name: name.to_owned() };
        self.client().deactivate(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn info(&self, scope: &Scope, name: &str) -> Result<Activation> {
        let request = v1::InfoRequest { name: name.to_owned() };
        let answer = self.client().info(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn list(&self, scope: &Scope) -> Result<Chunks<Activation>> {
        let request = v1::ListRequest { filters: Vec::new() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        Ok(chunks(answer.into_inner(), |message: v1::ListMessage| {
            Ok(vec![required(message.info, "info")?.try_into()?])
        }))
    }
}
