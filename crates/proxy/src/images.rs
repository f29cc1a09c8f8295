//! [`images::Store`](stowd_core::images::Store) over gRPC.

use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use stowd_api::convert::time::timestamp;
use stowd_api::convert::{field_mask, required};
use stowd_api::services::images::v1::{self, images_client::ImagesClient};
use stowd_api::types;
use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete, Image, Store};
use stowd_core::{Result, Scope};
use tonic::transport::Channel;

use crate::call::{all, client, failed, scoped};

/// A daemon's images.
#[derive(Clone, Debug)]
pub struct Images {
    client: ImagesClient<Channel>,
}

impl Images {
    /// Makes the image store at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(ImagesClient<Channel>, channel) }
    }

    fn client(&self) -> ImagesClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Store for Images {
    async fn get(&self, scope: &Scope, name: &str) -> Result<Image> {
        let request = v1::GetImageRequest { name: name.to_owned() };
        let answer = self.client().get(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().image, "image")?.try_into()
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Image>> {
        let request = v1::ListImagesRequest { filters: filters.texts() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().images)
    }

    /// A time of creation other than the epoch is sent as a reproducible one.
    async fn create(&self, scope: &Scope, image: Image) -> Result<Image> {
        let request = v1::CreateImageRequest {
            source_date_epoch: (image.created != UNIX_EPOCH).then(|| timestamp(image.created)),
            image: Some(image.into()),
        };
        let answer = self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().image, "image")?.try_into()
    }

    async fn update(&self, scope: &Scope, image: Image, fieldpaths: &[String]) -> Result<Image> {
        let request = v1::UpdateImageRequest {
            image: Some(image.into()),
            update_mask: field_mask(fieldpaths),
            source_date_epoch: None,
        };
        let answer = self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().image, "image")?.try_into()
    }

    async fn delete(&self, scope: &Scope, name: &str, delete: Delete) -> Result<()> {
        let target = delete.target.map(|digest| types::Descriptor {
            digest: digest.to_string(),
            ..types::Descriptor::default()
        });
        let request = v1::DeleteImageRequest {
            name: name.to_owned(),
            sync: delete.collect == Collect::BeforeReturn,
            target,
        };
        self.client().delete(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}
