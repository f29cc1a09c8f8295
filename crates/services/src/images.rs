//! `containerd.services.images.v1`.

use std::sync::Arc;
use std::time::SystemTime;

use stowd_api::Timestamp;
use stowd_api::services::images::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete, Image, Store};
use stowd_core::{Digest, Error, Result};
use tonic::Request;

use crate::request::{Answer, answer, digest, field_paths, finish, required, scoped};

/// Serves the store of images.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::images_server::Images for Service {
    async fn get(&self, request: Request<api::GetImageRequest>) -> Answer<api::GetImageResponse> {
        let (scope, request) = scoped(request)?;
        answer(self.0.get(&scope, &request.name).await, |image| api::GetImageResponse {
            image: Some(image.into()),
        })
    }

    async fn list(
        &self,
        request: Request<api::ListImagesRequest>,
    ) -> Answer<api::ListImagesResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |images| api::ListImagesResponse {
            images: images.into_iter().map(Into::into).collect(),
        })
    }

    async fn create(
        &self,
        request: Request<api::CreateImageRequest>,
    ) -> Answer<api::CreateImageResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let created = finish(async move {
            let image = parse(request.image, request.source_date_epoch)?;
            store.create(&scope, image).await
        });
        answer(created.await, |image| api::CreateImageResponse { image: Some(image.into()) })
    }

    async fn update(
        &self,
        request: Request<api::UpdateImageRequest>,
    ) -> Answer<api::UpdateImageResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let updated = finish(async move {
            let paths = field_paths(request.update_mask);
            let image = with_target(request.image, &paths);
            let image = parse(image, request.source_date_epoch)?;
            store.update(&scope, image, &paths).await
        });
        answer(updated.await, |image| api::UpdateImageResponse { image: Some(image.into()) })
    }

    async fn delete(&self, request: Request<api::DeleteImageRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let deleted = finish(async move {
            let target = request.target.map(|target| digest(&target.digest)).transpose()?;
            let collect = if request.sync { Collect::BeforeReturn } else { Collect::Later };
            store.delete(&scope, &request.name, Delete { collect, target }).await
        });
        answer(deleted.await, |()| ())
    }
}

/// Fills in a target where none is to be changed: clients that change labels send an empty one.
fn with_target(mut image: Option<api::Image>, paths: &[String]) -> Option<api::Image> {
    if let Some(image) = &mut image
        && !paths.is_empty()
        && !paths.iter().any(|path| path == "target")
    {
        let target = image.target.get_or_insert_default();
        if target.digest.is_empty() {
            target.digest = Digest::of(b"").into();
        }
    }
    image
}

/// Takes an image from a request. Times that a client sends do not count, but for the reproducible
/// time, which the contract takes as the time of creation.
fn parse(image: Option<api::Image>, epoch: Option<Timestamp>) -> Result<Image> {
    let mut image = required(image, "Image")?;
    if image.name.is_empty() {
        return Err(Error::invalid("Image.Name required"));
    }
    image.created_at = None;
    image.updated_at = None;
    let mut image: Image = image.try_into()?;
    if let Some(epoch) = epoch {
        image.created = SystemTime::try_from(epoch)
            .map_err(|error| Error::invalid(format_args!("source date epoch: {error}")))?;
    }
    Ok(image)
}
