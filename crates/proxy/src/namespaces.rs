//! [`namespaces::Store`](stowd_core::namespaces::Store) over gRPC.

use async_trait::async_trait;
use stowd_api::convert::{field_mask, required};
use stowd_api::services::namespaces::v1::{self, namespaces_client::NamespacesClient};
use stowd_core::namespaces::Store;
use stowd_core::{Labels, Namespace, Result};
use tonic::transport::Channel;

use crate::call::{all, client, failed};

/// A daemon's namespaces.
#[derive(Clone, Debug)]
pub struct Namespaces {
    client: NamespacesClient<Channel>,
}

impl Namespaces {
    /// Makes the store of namespaces at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(NamespacesClient<Channel>, channel) }
    }

    fn client(&self) -> NamespacesClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Store for Namespaces {
    async fn get(&self, name: &Namespace) -> Result<Labels> {
        let request = v1::GetNamespaceRequest { name: name.to_string() };
        let answer = self.client().get(request).await.map_err(failed)?;
        Ok(required(answer.into_inner().namespace, "namespace")?.labels)
    }

    async fn list(&self) -> Result<Vec<(Namespace, Labels)>> {
        let request = v1::ListNamespacesRequest::default();
        let answer = self.client().list(request).await.map_err(failed)?;
        all(answer.into_inner().namespaces)
    }

    async fn create(&self, name: &Namespace, labels: Labels) -> Result<()> {
        let namespace = Some((name.clone(), labels).into());
        let request = v1::CreateNamespaceRequest { namespace };
        self.client().create(request).await.map_err(failed)?;
        Ok(())
    }

    async fn update(
        &self,
        name: &Namespace,
        labels: Labels,
        fieldpaths: &[String],
    ) -> Result<Labels> {
        let request = v1::UpdateNamespaceRequest {
            namespace: Some((name.clone(), labels).into()),
            update_mask: field_mask(fieldpaths),
        };
        let answer = self.client().update(request).await.map_err(failed)?;
        match answer.into_inner().namespace {
            Some(namespace) => Ok(namespace.labels),
            // containerd leaves the answer empty.
            None => self.get(name).await,
        }
    }

    async fn delete(&self, name: &Namespace) -> Result<()> {
        let request = v1::DeleteNamespaceRequest { name: name.to_string() };
        self.client().delete(request).await.map_err(failed)?;
        Ok(())
    }
}
