//! `containerd.services.namespaces.v1`.

use std::sync::Arc;

use stowd_api::services::namespaces::v1 as api;
use stowd_core::Namespace;
use stowd_core::namespaces::Store;
use tonic::Request;

use crate::request::{Answer, answer, field_paths, finish, required};

/// Serves the store of namespaces.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::namespaces_server::Namespaces for Service {
    async fn get(
        &self,
        request: Request<api::GetNamespaceRequest>,
    ) -> Answer<api::GetNamespaceResponse> {
        let got = async {
            let name = Namespace::new(request.into_inner().name)?;
            let labels = self.0.get(&name).await?;
            Ok((name, labels))
        };
        answer(got.await, |namespace| api::GetNamespaceResponse {
            namespace: Some(namespace.into()),
        })
    }

    async fn list(
        &self,
        _: Request<api::ListNamespacesRequest>,
    ) -> Answer<api::ListNamespacesResponse> {
        answer(self.0.list().await, |list| api::ListNamespacesResponse {
            namespaces: list.into_iter().map(Into::into).collect(),
        })
    }

    async fn create(
        &self,
        request: Request<api::CreateNamespaceRequest>,
    ) -> Answer<api::CreateNamespaceResponse> {
        let store = self.0.clone();
        let created = finish(async move {
            let namespace = required(request.into_inner().namespace, "namespace")?;
            let (name, labels) = namespace.try_into()?;
            store.create(&name, labels.clone()).await?;
            Ok((name, labels))
        });
        answer(created.await, |namespace| api::CreateNamespaceResponse {
            namespace: Some(namespace.into()),
        })
    }

    async fn update(
        &self,
        request: Request<api::UpdateNamespaceRequest>,
    ) -> Answer<api::UpdateNamespaceResponse> {
        let store = self.0.clone();
        let updated = finish(async move {
            let request = request.into_inner();
            let (name, labels) = required(request.namespace, "namespace")?.try_into()?;
            let labels = store.update(&name, labels, &field_paths(request.update_mask)).await?;
            Ok((name, labels))
        });
        answer(updated.await, |namespace| api::UpdateNamespaceResponse {
            namespace: Some(namespace.into()),
        })
    }

    async fn delete(&self, request: Request<api::DeleteNamespaceRequest>) -> Answer<()> {
        let store = self.0.clone();
        let deleted =
            finish(async move { store.delete(&Namespace::new(request.into_inner().name)?).await });
        answer(deleted.await, |()| ())
    }
}
