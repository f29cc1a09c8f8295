//! [`containers::Store`](stowd_core::containers::Store) over gRPC.

use async_trait::async_trait;
use stowd_api::convert::{field_mask, required};
use stowd_api::services::containers::v1::{self, containers_client::ContainersClient};
use stowd_core::containers::{Container, Store};
use stowd_core::filters::Filters;
use stowd_core::{Result, Scope};
use tonic::Code;
use tonic::transport::Channel;

use crate::call::{all, client, failed, scoped};

/// A daemon's containers.
#[derive(Clone, Debug)]
pub struct Containers {
    client: ContainersClient<Channel>,
}

impl Containers {
    /// Makes the container store at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(ContainersClient<Channel>, channel) }
    }

    fn client(&self) -> ContainersClient<Channel> {
        self.client.clone()
    }

    /// Lists by a stream, which has no limit on its length; `None` where the daemon has no such
    /// method.
    async fn stream(
        &self,
        scope: &Scope,
        request: v1::ListContainersRequest,
    ) -> Result<Option<Vec<Container>>> {
        let answer = self.client().list_stream(scoped(scope, request)?).await;
        let mut stream = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(None),
            Err(status) => return Err(failed(status)),
        };
        let mut list = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    list.push(required(message.container, "container")?.try_into()?);
                }
                Ok(None) => return Ok(Some(list)),
                Err(status) if status.code() == Code::Unimplemented && list.is_empty() => {
                    return Ok(None);
                }
                Err(status) => return Err(failed(status)),
            }
        }
    }
}

#[async_trait]
impl Store for Containers {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Container> {
        let request = v1::GetContainerRequest { id: id.to_owned() };
        let answer = self.client().get(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().container, "container")?.try_into()
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Container>> {
        let request = v1::ListContainersRequest { filters: filters.texts() };
        if let Some(list) = self.stream(scope, request.clone()).await? {
            return Ok(list);
        }
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().containers)
    }

    async fn create(&self, scope: &Scope, container: Container) -> Result<Container> {
        let request = v1::CreateContainerRequest { container: Some(container.into()) };
        let answer = self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().container, "container")?.try_into()
    }

    async fn update(
        &self,
        scope: &Scope,
        container: Container,
        fieldpaths: &[String],
    ) -> Result<Container> {
        let request = v1::UpdateContainerRequest {
            container: Some(container.into()),
            update_mask: field_mask(fieldpaths),
        };
        let answer = self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().container, "container")?.try_into()
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        let request = v1::DeleteContainerRequest { id: id.to_owned() };
        self.client().delete(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}
