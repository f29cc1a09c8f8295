//! [`leases::Store`](stowd_core::leases::Store) over gRPC.

use async_trait::async_trait;
use stowd_api::convert::required;
use stowd_api::services::leases::v1::{self, leases_client::LeasesClient};
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::leases::{Lease, Resource, Store};
use stowd_core::{Labels, Result, Scope};
use tonic::transport::Channel;

use crate::call::{all, client, failed, scoped};

/// A daemon's leases.
#[derive(Clone, Debug)]
pub struct Leases {
    client: LeasesClient<Channel>,
}

impl Leases {
    /// Makes the lease store at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(LeasesClient<Channel>, channel) }
    }

    fn client(&self) -> LeasesClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Store for Leases {
    async fn create(&self, scope: &Scope, id: &str, labels: Labels) -> Result<Lease> {
        let request = v1::CreateRequest { id: id.to_owned(), labels };
        let answer = self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().lease, "lease")?.try_into()
    }

    async fn delete(&self, scope: &Scope, id: &str, collect: Collect) -> Result<()> {
        let request =
            v1::DeleteRequest { id: id.to_owned(), sync: collect == Collect::BeforeReturn };
        self.client().delete(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Lease>> {
        let request = v1::ListRequest { filters: filters.texts() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().leases)
    }

    async fn add_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()> {
        let request = v1::AddResourceRequest { id: id.to_owned(), resource: Some(resource.into()) };
        self.client().add_resource(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn delete_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()> {
        let request =
            v1::DeleteResourceRequest { id: id.to_owned(), resource: Some(resource.into()) };
        self.client().delete_resource(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn resources(&self, scope: &Scope, id: &str) -> Result<Vec<Resource>> {
        let request = v1::ListResourcesRequest { id: id.to_owned() };
        let answer = self.client().list_resources(scoped(scope, request)?).await.map_err(failed)?;
        Ok(answer.into_inner().resources.into_iter().map(Resource::from).collect())
    }
}
