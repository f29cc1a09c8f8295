//! Downloads that reconnect and resume (distribution-spec, "Pulling blobs"; RFC 9110, section 14).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use futures_util::stream;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode};
use reqwest::Response;
use stowd_core::descriptor::media_type::{is_index, is_manifest};
use stowd_core::registry::{Download, Fetcher};
use stowd_core::{Descriptor, Error, ErrorKind, Result};
use url::Url;

use crate::endpoint::{Capabilities, Endpoint};
use crate::fault::{Fault, shown};
use crate::repository::{Call, Handle, Remote, Turn, check};
use crate::resolve::{content_length, denied};

/// A connection that brings this much has earned the full number of tries again.
const PROGRESS: u64 = 1 << 20;

#[async_trait]
impl Fetcher for Handle {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<Download> {
        if offset > descriptor.size {
            return Err(Error::out_of_range(format_args!(
                "offset {offset} of {} is past its end ({})",
                descriptor.digest, descriptor.size
            )));
        }
        let mut state = State {
            remote: Arc::clone(&self.0),
            descriptor: descriptor.clone(),
            offset,
            body: None,
            earned: 0,
            failures: AtomicU32::new(0),
        };
        if offset < descriptor.size {
            // The first try happens here, so that "not found" is the answer of the call.
            state.body = Some(self.open_blob(descriptor, offset).await?);
        }
        Ok(Box::pin(stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|chunk| (chunk, state)))
        })))
    }
}

struct State {
    remote: Arc<Remote>,
    descriptor: Descriptor,
    offset: u64,
    body: Option<Opened>,
    /// Bytes since the last failure.
    earned: u64,
    failures: AtomicU32,
}

/// An answer whose body is being read.
struct Opened {
    response: Response,
    /// Bytes before the place that we asked for, sent by a host that knows no ranges.
    skip: u64,
}

impl State {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.offset == self.descriptor.size {
                return Ok(None);
            }
            let error = match self.read().await {
                Ok(Some(mut chunk)) => {
                    let left = self.descriptor.size - self.offset;
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    if chunk.is_empty() {
                        continue;
                    }
                    self.offset += chunk.len() as u64;
                    self.earned += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) => Error::unavailable(format_args!(
                    "download of {}: unexpected EOF after {} of {} bytes",
                    self.descriptor.digest, self.offset, self.descriptor.size
                )),
                Err(error) => error,
            };
            self.body = None;
            if self.earned >= PROGRESS {
                self.failures.store(0, Ordering::Relaxed);
            }
            self.earned = 0;
            let wait = self.remote.pause(&self.failures, None);
            let given_up = self.failures.load(Ordering::Relaxed) >= self.remote.config().tries;
            if given_up || !error.is(ErrorKind::Unavailable) {
                return Err(error);
            }
            tracing::debug!(%error, offset = self.offset, "download broke off, resuming");
            tokio::time::sleep(wait).await;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        let opened = match &mut self.body {
            Some(opened) => opened,
            none => none.insert(self.remote.open_blob(&self.descriptor, self.offset).await?),
        };
        let silence = self.remote.config().silence;
        loop {
            let url = opened.response.url().clone();
            let chunk = tokio::time::timeout(silence, opened.response.chunk()).await;
            let mut chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    let fault = Fault::read(&Method::GET, &url, &error);
                    return Err(fault.error);
                }
                Err(_) => return Err(Fault::silent(&Method::GET, &url, silence.as_secs()).error),
            };
            let skipped = opened.skip.min(chunk.len() as u64);
            opened.skip -= skipped;
            chunk.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}

impl Remote {
    /// Asks the hosts, and then the places that the descriptor names, for a blob.
    async fn open_blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Opened> {
        let hosts = self.able(Capabilities::PULL);
        if hosts.is_empty() {
            return Err(Error::not_found("no pull hosts"));
        }
        let is_document = is_manifest(&descriptor.media_type) || is_index(&descriptor.media_type);
        let kind = if is_document { "manifests" } else { "blobs" };
        let mut first = None;
        for (host, turn) in hosts {
            let mut call = self.call(Method::GET, host, &[kind, descriptor.digest.as_str()])?;
            call.headers = headers(descriptor, offset);
            match self.open_at(host, turn, &call, descriptor, offset).await {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    tracing::debug!(host = host.authority, %error, "not fetched here");
                    first.get_or_insert(error);
                }
            }
        }
        let error = first.unwrap_or_else(|| Error::not_found(&descriptor.digest));
        if !error.is_not_found() {
            return Err(denied(error));
        }
        for place in &descriptor.urls {
            match self.open_elsewhere(place, descriptor, offset).await {
                Ok(opened) => return Ok(opened),
                Err(error) => tracing::debug!(place, %error, "not fetched there"),
            }
        }
        Err(Error::not_found(format_args!(
            "could not fetch content descriptor {} ({}) from remote",
            descriptor.digest, descriptor.media_type
        )))
    }

    async fn open_elsewhere(
        &self,
        place: &str,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Opened> {
        let url: Url = place
            .parse()
            .ok()
            .filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Error::invalid(format_args!("{place:?} is no place to download from"))
            })?;
        let host = crate::hosts::stranger(&url);
        let call = Call {
            method: Method::GET,
            url,
            headers: headers(descriptor, offset),
            scopes: Vec::new(),
            body: None,
        };
        self.open_at(&host, Turn::Last, &call, descriptor, offset).await
    }

    async fn open_at(
        &self,
        host: &Endpoint,
        turn: Turn,
        call: &Call,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Opened> {
        let response = self.send(host, call, turn).await?;
        let response = check(&call.method, response, self.config().silence).await?;
        let wrong = |what: &str| {
            Error::failed_precondition(format_args!("{}: {what}", shown(response.url())))
        };
        let skip = if response.status() == StatusCode::PARTIAL_CONTENT {
            let start = response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            if !start.is_some_and(|text| text.starts_with(&format!("bytes {offset}-"))) {
                return Err(wrong(&format!(
                    "unhandled content range in response: {:?}",
                    start.unwrap_or_default()
                )));
            }
            0
        } else {
            offset
        };
        let promised = descriptor.size - offset + skip;
        match content_length(&response) {
            Some(length) if length != promised => Err(wrong(&format!(
                "the registry sends {length} bytes of {} where the descriptor promises {promised}",
                descriptor.digest
            ))),
            _ => Ok(Opened { response, skip }),
        }
    }
}

fn headers(descriptor: &Descriptor, offset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let accepted = match descriptor.media_type.as_str() {
        "" => "*/*".to_owned(),
        media_type => format!("{media_type}, */*"),
    };
    if let Ok(accepted) = HeaderValue::from_str(&accepted) {
        headers.insert(ACCEPT, accepted);
    }
    // Layers are compressed already, and digests are of the bytes as they are stored.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if offset > 0
        && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
    {
        headers.insert(RANGE, range);
    }
    headers
}
