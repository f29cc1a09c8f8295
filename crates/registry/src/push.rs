//! Uploads (distribution-spec, "Pushing blobs", "Pushing manifests"): in one piece, after asking
//! whether the registry has the blob or can take it from another repository.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use reqwest::Response;
use stowd_core::descriptor::media_type::{is_index, is_manifest};
use stowd_core::registry::{Pushed, Pusher, Sent, Tagged};
use stowd_core::{Descriptor, Error, ErrorKind, Result, content};
use url::Url;

use crate::endpoint::{Capabilities, Endpoint};
use crate::repository::{Call, Handle, Remote, Turn, check};
use crate::transport::Body;

/// How much of a blob is read at a time.
const PIECE: usize = 256 << 10;

#[async_trait]
impl Pusher for Handle {
    async fn push(
        &self,
        descriptor: &Descriptor,
        blob: Arc<dyn content::Blob>,
        mount_from: &[String],
        tagged: Tagged,
        sent: Sent,
    ) -> Result<Pushed> {
        let hosts = self.able(Capabilities::PUSH);
        let Some(&(host, _)) = hosts.first() else {
            return Err(Error::not_found(format_args!("no push hosts for {}", self.reference)));
        };
        let is_document = is_manifest(&descriptor.media_type) || is_index(&descriptor.media_type);
        let body = body(descriptor, blob, sent);
        if is_document {
            self.push_manifest(host, descriptor, body, tagged).await
        } else {
            self.push_blob(host, descriptor, body, mount_from).await
        }
    }
}

impl Remote {
    async fn push_manifest(
        &self,
        host: &Endpoint,
        descriptor: &Descriptor,
        body: Body,
        tagged: Tagged,
    ) -> Result<Pushed> {
        let digest = descriptor.digest.as_str();
        let name = match (tagged, self.reference.tag()) {
            (Tagged::Yes, Some(tag)) => tag,
            _ => digest,
        };
        let accept = HeaderValue::from_str(&format!("{}, */*", descriptor.media_type))
            .map_err(|_| Error::invalid("a media type that HTTP forbids"))?;
        let mut head = self.pushing(Method::HEAD, host, &["manifests", name])?;
        head.headers.insert(ACCEPT, accept);
        let answer = self.send(host, &head, Turn::Last).await.map_err(refused)?;
        let there = answer.headers().get("docker-content-digest");
        if answer.status().is_success()
            && (name == digest || there.is_some_and(|there| there.as_bytes() == digest.as_bytes()))
        {
            return Ok(Pushed::Existed);
        }
        let mut put = self.pushing(Method::PUT, host, &["manifests", name])?;
        let kind = HeaderValue::from_str(&descriptor.media_type);
        put.headers.insert(
            CONTENT_TYPE,
            kind.map_err(|_| Error::invalid("a media type that HTTP forbids"))?,
        );
        put.body = Some(body);
        self.success(host, &put).await?;
        Ok(Pushed::Uploaded)
    }

    async fn push_blob(
        &self,
        host: &Endpoint,
        descriptor: &Descriptor,
        body: Body,
        mount_from: &[String],
    ) -> Result<Pushed> {
        let digest = descriptor.digest.as_str();
        let head = self.pushing(Method::HEAD, host, &["blobs", digest])?;
        let answer = self.send(host, &head, Turn::Last).await.map_err(refused)?;
        if answer.status().is_success() {
            return Ok(Pushed::Existed);
        }
        let answer = match self.mount(host, digest, mount_from).await? {
            Some(answer) if answer.status() == StatusCode::CREATED => return Ok(Pushed::Mounted),
            Some(answer) => answer,
            None => {
                let post = self.pushing(Method::POST, host, &["blobs", "uploads/"])?;
                self.success(host, &post).await?
            }
        };
        if answer.status() == StatusCode::CREATED {
            return Ok(Pushed::Existed);
        }
        let mut put = self.pushing(Method::PUT, host, &[])?;
        put.url = upload_place(&answer)?;
        put.url.query_pairs_mut().append_pair("digest", digest);
        put.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        put.body = Some(body);
        self.success(host, &put).await?;
        Ok(Pushed::Uploaded)
    }

    /// Asks the registry to take the blob from another repository. Answers 201 (taken), 202 (an
    /// upload was started instead), or nothing where that repository may not be read.
    async fn mount(
        &self,
        host: &Endpoint,
        digest: &str,
        mount_from: &[String],
    ) -> Result<Option<Response>> {
        let own = self.reference.repository();
        let Some(from) = mount_from.iter().find(|from| from.as_str() != own) else {
            return Ok(None);
        };
        let mut post = self.pushing(Method::POST, host, &["blobs", "uploads/"])?;
        post.url.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
        post.scopes.push(format!("repository:{from}:pull"));
        match self.send(host, &post, Turn::Last).await {
            Ok(answer) if answer.status().is_success() => Ok(Some(answer)),
            Ok(answer) => {
                tracing::debug!(from, status = %answer.status(), "blob cannot be mounted");
                Ok(None)
            }
            Err(error) if error.is(ErrorKind::Unauthenticated) => Ok(None),
            Err(error) => Err(error.context(format_args!("pushing with mount from {from}"))),
        }
    }

    fn pushing(&self, method: Method, host: &Endpoint, parts: &[&str]) -> Result<Call> {
        let mut call = self.call(method, host, parts)?;
        call.scopes = vec![format!("repository:{}:pull,push", self.reference.repository())];
        Ok(call)
    }

    async fn success(&self, host: &Endpoint, call: &Call) -> Result<Response> {
        let answer = self.send(host, call, Turn::Last).await.map_err(refused)?;
        check(&call.method, answer, self.config().silence).await.map_err(refused)
    }
}

fn refused(error: Error) -> Error {
    if !error.is(ErrorKind::Unauthenticated) {
        return error;
    }
    error.context("push access denied, repository does not exist or may require authorization")
}

/// Returns where an upload that was started is to go.
fn upload_place(answer: &Response) -> Result<Url> {
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    location.and_then(|location| answer.url().join(location).ok()).ok_or_else(|| {
        Error::unavailable(format_args!(
            "the registry does not say where to upload to: {:?}",
            location.unwrap_or_default()
        ))
    })
}

fn body(descriptor: &Descriptor, blob: Arc<dyn content::Blob>, sent: Sent) -> Body {
    let size = descriptor.size;
    Body { size, open: Arc::new(move || pieces(Arc::clone(&blob), size, Arc::clone(&sent))) }
}

fn pieces(
    blob: Arc<dyn content::Blob>,
    size: u64,
    sent: Sent,
) -> BoxStream<'static, Result<Bytes>> {
    sent(0);
    stream::try_unfold(0u64, move |offset| {
        let (blob, sent) = (Arc::clone(&blob), Arc::clone(&sent));
        async move {
            if offset >= size {
                return Ok(None);
            }
            let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
            let piece = blob.read_at(offset, PIECE.min(left)).await?;
            if piece.is_empty() {
                return Err(Error::data_loss(format_args!(
                    "blob ends at {offset} of {size} bytes"
                )));
            }
            let next = offset + piece.len() as u64;
            sent(next);
            Ok(Some((piece, next)))
        }
    })
    .boxed()
}
