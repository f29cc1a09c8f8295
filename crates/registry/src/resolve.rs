//! What a tag or digest stands for (distribution-spec, "Pulling manifests").

use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use reqwest::Response;
use stowd_core::descriptor::media_type;
use stowd_core::registry::Resolver;
use stowd_core::{Descriptor, Digest, Error, ErrorKind, Result};

use crate::endpoint::{Capabilities, Endpoint};
use crate::repository::{Call, Handle, Remote, Turn, check, read_limited};

/// The longest manifest that is taken: some 60 times what an image of 128 layers needs.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

const SCHEMA1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// A failure and how far the host got: the one that got furthest is reported.
type Failure = (u8, Error);

#[async_trait]
impl Resolver for Handle {
    async fn resolve(&self) -> Result<Descriptor> {
        let object = self.reference.object()?;
        let known = self.reference.digest();
        let wanted = match known {
            Some(_) => Capabilities::PULL,
            None => Capabilities::PULL.with(Capabilities::RESOLVE),
        };
        let hosts = self.able(wanted);
        if hosts.is_empty() {
            return Err(Error::not_found(format_args!("no resolve hosts for {}", self.reference))
                .hint("no host in the registry's hosts.toml has the capability \"resolve\""));
        }
        // What is not a manifest may still be a blob, if its digest was given.
        let kinds: &[&str] = if known.is_some() { &["manifests", "blobs"] } else { &["manifests"] };
        self.ask_all(&hosts, kinds, &object, known).await
    }

    async fn find(&self, digest: &Digest, media_type: &str) -> Result<Descriptor> {
        let hosts = self.able(Capabilities::PULL);
        let is_document = media_type::is_manifest(media_type) || media_type::is_index(media_type);
        let kinds = if is_document { ["manifests", "blobs"] } else { ["blobs", "manifests"] };
        let mut found = self.ask_all(&hosts, &kinds, digest.as_str(), Some(digest)).await?;
        if !media_type.is_empty() {
            media_type.clone_into(&mut found.media_type);
        }
        Ok(found)
    }
}

impl Remote {
    /// Asks each host for each kind of object, until one has it.
    async fn ask_all(
        &self,
        hosts: &[(&Endpoint, Turn)],
        kinds: &[&str],
        object: &str,
        known: Option<&Digest>,
    ) -> Result<Descriptor> {
        let mut worst: Option<Failure> = None;
        for kind in kinds {
            for &(host, turn) in hosts {
                match self.ask(host, turn, kind, object, known).await {
                    Ok(found) => return Ok(found),
                    Err((rank, error)) => {
                        tracing::debug!(host = host.authority, %error, "not resolved here");
                        if worst.as_ref().is_none_or(|(before, _)| rank > *before) {
                            worst = Some((rank, error));
                        }
                    }
                }
            }
            if worst.as_ref().is_some_and(|(_, error)| !error.is_not_found()) {
                break;
            }
        }
        Err(worst.map_or_else(|| Error::not_found(&self.reference), |(_, error)| error))
    }

    async fn ask(
        &self,
        host: &Endpoint,
        turn: Turn,
        kind: &str,
        object: &str,
        known: Option<&Digest>,
    ) -> Result<Descriptor, Failure> {
        let head = self.manifest_call(Method::HEAD, host, kind, object).map_err(|e| (0, e))?;
        let response = self.send(host, &head, turn).await.map_err(|error| (1, denied(error)))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Err((
                2,
                Error::not_found(&self.reference)
                    .hint("the registry has no such image: check the name and the tag"),
            ));
        }
        if !status.is_success() {
            // The answer to HEAD has no body: GET makes the registry say why.
            return Err((3, self.explain(host, kind, object, response).await));
        }
        let media = media_type_of(&response);
        let length = content_length(&response);
        let claimed = response.headers().get("docker-content-digest");
        let claimed = claimed.and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let digest = match (known, claimed) {
            (Some(known), _) => Some(known.clone()),
            (None, Some(text)) => Some(text.parse().map_err(|error: Error| {
                (
                    3,
                    Error::unavailable(format_args!(
                        "{text:?} in header not a valid digest: {}",
                        error.message()
                    )),
                )
            })?),
            (None, None) => None,
        };
        let found = match (digest, length, media.is_empty()) {
            (Some(digest), Some(length), false) => Descriptor::new(media, digest, length),
            (digest, ..) => self.read(host, turn, kind, object, digest).await?,
        };
        // A blob may be of any size.
        if kind == "manifests" { self.accept(found) } else { Ok(found) }
    }

    /// Gets the whole manifest where the answer to HEAD says too little.
    async fn read(
        &self,
        host: &Endpoint,
        turn: Turn,
        kind: &str,
        object: &str,
        digest: Option<Digest>,
    ) -> Result<Descriptor, Failure> {
        let call = self.manifest_call(Method::GET, host, kind, object).map_err(|e| (0, e))?;
        let silence = self.config().silence;
        let response = self.send(host, &call, turn).await.map_err(|error| (1, denied(error)))?;
        let response = check(&call.method, response, silence).await.map_err(|e| (3, e))?;
        let media = media_type_of(&response);
        let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
        let data = read_limited(response, limit, silence).await.map_err(|e| (4, e))?;
        let digest = digest.unwrap_or_else(|| Digest::of(&data));
        Ok(Descriptor::new(media, digest, data.len() as u64))
    }

    fn accept(&self, found: Descriptor) -> Result<Descriptor, Failure> {
        if SCHEMA1.contains(&found.media_type.as_str()) {
            return Err((
                4,
                Error::not_implemented(format_args!(
                    "media type {:?} is no longer supported, please rebuild the image as {:?} or {:?}",
                    found.media_type,
                    media_type::DOCKER_MANIFEST,
                    media_type::MANIFEST
                )),
            ));
        }
        if found.size > MAX_MANIFEST {
            return Err((
                4,
                Error::new(
                    ErrorKind::FailedPrecondition,
                    format_args!(
                        "rejecting {} byte manifest for {}: more than {MAX_MANIFEST} bytes",
                        found.size, self.reference
                    ),
                ),
            ));
        }
        Ok(found)
    }

    async fn explain(
        &self,
        host: &Endpoint,
        kind: &str,
        object: &str,
        response: Response,
    ) -> Error {
        let silence = self.config().silence;
        let original = match check(&Method::HEAD, response, silence).await {
            Err(error) => error,
            Ok(_) => return Error::internal("a failure that is none"),
        };
        if !matches!(original.kind(), ErrorKind::PermissionDenied | ErrorKind::Unauthenticated) {
            return original;
        }
        let Ok(call) = self.manifest_call(Method::GET, host, kind, object) else { return original };
        match self.send(host, &call, Turn::Another).await {
            Ok(response) => match check(&call.method, response, silence).await {
                Err(error) => denied(error),
                Ok(_) => original,
            },
            Err(_) => denied(original),
        }
    }

    fn manifest_call(
        &self,
        method: Method,
        host: &Endpoint,
        kind: &str,
        object: &str,
    ) -> Result<Call> {
        let mut call = self.call(method, host, &[kind, object])?;
        let accepted = [
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
            media_type::MANIFEST,
            media_type::INDEX,
            "*/*",
        ];
        let accepted = HeaderValue::from_str(&accepted.join(", "));
        call.headers.insert(ACCEPT, accepted.unwrap_or(HeaderValue::from_static("*/*")));
        Ok(call)
    }
}

/// Says what a refusal means to somebody who pulls: registries answer alike for what is not there
/// and for what is not theirs.
pub(crate) fn denied(error: Error) -> Error {
    if !error.is(ErrorKind::Unauthenticated) {
        return error;
    }
    error.context("pull access denied, repository does not exist or may require authorization")
}

/// Returns the declared type, without parameters.
fn media_type_of(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match value {
        // What a registry of Red Hat's sends for schema 1.
        "text/plain" => SCHEMA1[0].to_owned(),
        value => value.to_owned(),
    }
}

/// Returns the declared length; for HEAD the library knows of no body.
pub(crate) fn content_length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
