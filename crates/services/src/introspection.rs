//! `containerd.services.introspection.v1`.

use std::sync::Arc;

use stowd_api::services::introspection::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::introspection::Introspection;
use tonic::Request;

use crate::request::{Answer, answer};

/// Serves what the daemon tells about itself.
pub struct Service(pub Arc<dyn Introspection>);

#[tonic::async_trait]
impl api::introspection_server::Introspection for Service {
    async fn plugins(&self, request: Request<api::PluginsRequest>) -> Answer<api::PluginsResponse> {
        let filters = Filters::parse(&request.into_inner().filters);
        let listed = async { self.0.plugins(&filters?).await };
        answer(listed.await, |plugins| api::PluginsResponse {
            plugins: plugins.into_iter().map(Into::into).collect(),
        })
    }

    async fn server(&self, _: Request<()>) -> Answer<api::ServerResponse> {
        answer(self.0.server().await, Into::into)
    }

    async fn plugin_info(
        &self,
        request: Request<api::PluginInfoRequest>,
    ) -> Answer<api::PluginInfoResponse> {
        let request = request.into_inner();
        let options = request.options.map(Into::into);
        let asked = self.0.plugin_info(&request.r#type, &request.id, options).await;
        answer(asked, |(plugin, extra)| api::PluginInfoResponse {
            plugin: Some(plugin.into()),
            extra: extra.map(Into::into),
        })
    }
}
