//! [`introspection::Introspection`] over gRPC.

use async_trait::async_trait;
use stowd_api::convert::required;
use stowd_api::services::introspection::v1::introspection_client::IntrospectionClient;
use stowd_api::services::introspection::v1::{PluginInfoRequest, PluginsRequest};
use stowd_api::services::version::v1::version_client::VersionClient;
use stowd_core::filters::Filters;
use stowd_core::introspection::{self, Plugin, Server, Version};
use stowd_core::{Any, Result};
use tonic::transport::Channel;

use crate::call::{client, failed};

/// What a daemon says about itself, with its version.
#[derive(Clone, Debug)]
pub struct Introspection {
    client: IntrospectionClient<Channel>,
    version: VersionClient<Channel>,
}

impl Introspection {
    /// Makes the face of the daemon at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: client!(IntrospectionClient<Channel>, channel.clone()),
            version: client!(VersionClient<Channel>, channel),
        }
    }
}

#[async_trait]
impl introspection::Introspection for Introspection {
    async fn plugins(&self, filters: &Filters) -> Result<Vec<Plugin>> {
        let request = PluginsRequest { filters: filters.texts() };
        let answer = self.client.clone().plugins(request).await.map_err(failed)?;
        Ok(answer.into_inner().plugins.into_iter().map(Plugin::from).collect())
    }

    async fn server(&self) -> Result<Server> {
        let answer = self.client.clone().server(()).await.map_err(failed)?;
        Ok(answer.into_inner().into())
    }

    async fn plugin_info(
        &self,
        kind: &str,
        id: &str,
        options: Option<Any>,
    ) -> Result<(Plugin, Option<Any>)> {
        let request = PluginInfoRequest {
            r#type: kind.to_owned(),
            id: id.to_owned(),
            options: options.map(Into::into),
        };
        let answer = self.client.clone().plugin_info(request).await.map_err(failed)?.into_inner();
        Ok((required(answer.plugin, "plugin")?.into(), answer.extra.map(Into::into)))
    }

    async fn version(&self) -> Result<Version> {
        let answer = self.version.clone().version(()).await.map_err(failed)?;
        Ok(answer.into_inner().into())
    }
}
