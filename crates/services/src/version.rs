//! `containerd.services.version.v1`.

use std::sync::Arc;

use stowd_api::services::version::v1 as api;
use stowd_core::introspection::Introspection;
use tonic::Request;

use crate::request::{Answer, answer};

/// Serves the version.
pub struct Service(pub Arc<dyn Introspection>);

#[tonic::async_trait]
impl api::version_server::Version for Service {
    async fn version(&self, _: Request<()>) -> Answer<api::VersionResponse> {
        answer(self.0.version().await, |version| api::VersionResponse {
            version: version.version,
            revision: version.revision,
        })
    }
}
