//! A repository on a registry: its hosts, and how a request to one of them is tried.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, StatusCode};
use reqwest::Response;
use stowd_core::registry::Repository;
use stowd_core::transfer::RegistryRef;
use stowd_core::{Error, Reference, Result};
use url::Url;

use crate::auth::{Advice, Authorizer};
use crate::client::Config;
use crate::endpoint::{Capabilities, Endpoint};
use crate::fault::{self, Cause, Fault};
use crate::hosts::{self, Asked};
use crate::transport::{Body, Outgoing, Transport};

/// The longest that a host may make us wait before the next try.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How much of an error's body is read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// A repository, as the rest of the daemon holds it. Downloads share it and may outlive it.
pub(crate) struct Handle(pub Arc<Remote>);

/// What a repository consists of.
pub(crate) struct Remote {
    /// What it was opened for.
    pub reference: Reference,
    /// Hosts in the order in which they are tried.
    pub endpoints: Vec<Endpoint>,
    transport: Transport,
    authorizer: Authorizer,
    headers: HeaderMap,
}

/// Whether another host is left to ask after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A failure is not tried again here: the next host is.
    Another,
    /// There is no other host.
    Last,
}

/// What is asked of a host.
#[derive(Clone)]
pub(crate) struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// What the token must allow, such as `repository:a/b:pull`.
    pub scopes: Vec<String>,
    pub body: Option<Body>,
}

impl Remote {
    /// Reads the reference and the configuration of its hosts.
    pub(crate) fn open(image: &RegistryRef, config: Config) -> Result<Self> {
        let reference: Reference = image.reference.parse()?;
        let asked = Asked { plain_http: image.plain_http, skip_verify: image.skip_verify };
        let endpoints = hosts::find(&image.config_path, reference.host(), asked)?;
        let mut headers = HeaderMap::new();
        add_headers(&mut headers, &image.headers)?;
        Ok(Self {
            authorizer: Authorizer::new(image.reference.clone(), image.credentials.clone()),
            reference,
            endpoints,
            transport: Transport::new(config),
            headers,
        })
    }

    /// Returns the settings.
    pub(crate) fn config(&self) -> &Config {
        self.transport.config()
    }

    /// Returns the hosts that can do something, and for each whether another one follows.
    pub(crate) fn able(&self, wanted: Capabilities) -> Vec<(&Endpoint, Turn)> {
        let able: Vec<&Endpoint> =
            self.endpoints.iter().filter(|host| host.capabilities.has(wanted)).collect();
        let last = able.len().saturating_sub(1);
        let turn = |i| if i == last { Turn::Last } else { Turn::Another };
        able.into_iter().enumerate().map(|(i, host)| (host, turn(i))).collect()
    }

    /// Makes a call for something in the repository, such as `["manifests", "latest"]`.
    pub(crate) fn call(&self, method: Method, endpoint: &Endpoint, parts: &[&str]) -> Result<Call> {
        let text = format!(
            "{}://{}{}/{}/{}",
            endpoint.scheme_now(),
            endpoint.authority,
            endpoint.path,
            self.reference.repository(),
            parts.join("/")
        );
        let mut url: Url = text
            .parse()
            .map_err(|error| Error::invalid(format_args!("registry URL {text:?}: {error}")))?;
        if endpoint.is_mirror_of(self.reference.host()) {
            url.query_pairs_mut().append_pair("ns", self.reference.host());
        }
        Ok(Call {
            method,
            url,
            headers: HeaderMap::new(),
            scopes: vec![format!("repository:{}:pull", self.reference.repository())],
            body: None,
        })
    }

    /// Sends a call and tries again where that can help. Answers any status but one that asks to
    /// try again; [`check`] turns the others into errors.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        turn: Turn,
    ) -> Result<Response> {
        let tries = match turn {
            Turn::Last => self.config().tries.max(1),
            Turn::Another => 1,
        };
        let failures = AtomicU32::new(0);
        let mut call = call.clone();
        let mut refusals = 0;
        loop {
            match self.send_once(endpoint, &call).await {
                Ok((response, sent)) => match response.status() {
                    StatusCode::UNAUTHORIZED
                        if refusals < 3
                            && self.knows(endpoint)
                            && endpoint.serves(response.url()) =>
                    {
                        refusals += 1;
                        let sent = sent.as_ref();
                        let headers = response.headers();
                        match self.authorizer.refused(endpoint, headers, sent, refusals).await? {
                            Advice::Retry => continue,
                            Advice::GiveUp => return Ok(response),
                        }
                    }
                    // Some registries do not know HEAD for manifests.
                    StatusCode::METHOD_NOT_ALLOWED if call.method == Method::HEAD => {
                        call.method = Method::GET;
                    }
                    status if is_passing(status) => {
                        let wait = self.pause(&failures, retry_after(&response));
                        if failures.load(Ordering::Relaxed) >= tries {
                            return Ok(response);
                        }
                        drop(response);
                        tokio::time::sleep(wait).await;
                    }
                    _ => return Ok(response),
                },
                Err(Fault { error, cause }) => {
                    let wait = self.pause(&failures, None);
                    if cause != Cause::Transient || failures.load(Ordering::Relaxed) >= tries {
                        return Err(error);
                    }
                    tracing::debug!(%error, "request failed, trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<(Response, Option<HeaderValue>), Fault> {
        let sent = self
            .authorizer
            .header(&self.transport, endpoint, &call.scopes)
            .await
            .map_err(|error| Fault::lasting(error.context("failed to authorize")))?;
        let mut request = Outgoing::new(call.method.clone(), call.url.clone());
        // A stranger's place (`urls` of a descriptor) is told nothing about us.
        let own = self.knows(endpoint) && endpoint.serves(&call.url);
        if own && request.url.scheme() == "https" && endpoint.scheme_now() == "http" {
            // The host was found to speak plain HTTP since the call was made. Between http and
            // https this cannot fail.
            let _ = request.url.set_scheme("http");
        }
        request.headers = call.headers.clone();
        let agent = HeaderValue::from_str(&self.config().user_agent);
        request
            .headers
            .insert(USER_AGENT, agent.unwrap_or_else(|_| HeaderValue::from_static("stowd")));
        request.body = call.body.clone();
        if own {
            request.private = self.headers.clone();
            add_headers(&mut request.private, &endpoint.headers).map_err(Fault::lasting)?;
            if let Some(sent) = &sent {
                request.authorize(sent.clone());
            }
        }
        let response = self.transport.send(endpoint, &request).await?;
        Ok((response, sent))
    }

    fn knows(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.iter().any(|own| std::ptr::eq(own, endpoint))
    }

    /// Counts a failure and says how long to wait before the next try.
    pub(crate) fn pause(&self, failures: &AtomicU32, asked: Option<Duration>) -> Duration {
        let before = failures.fetch_add(1, Ordering::Relaxed).min(10);
        asked.unwrap_or_else(|| self.config().pause * 2u32.pow(before)).min(MAX_PAUSE)
    }
}

impl Repository for Handle {
    fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl Deref for Handle {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.0
    }
}

/// Turns a response without success into an error, with the registry's own words.
pub(crate) async fn check(
    method: &Method,
    response: Response,
    silence: Duration,
) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let url = response.url().clone();
    let body = read_limited(response, MAX_ERROR_BODY, silence).await.unwrap_or_default();
    Err(fault::status(method, &url, status, &body))
}

/// Reads a body that must not be longer than `limit`.
pub(crate) async fn read_limited(
    mut response: Response,
    limit: usize,
    silence: Duration,
) -> Result<Bytes> {
    let url = response.url().clone();
    let too_long = || {
        Error::failed_precondition(format_args!(
            "answer of {} is longer than {limit} bytes",
            fault::shown(&url)
        ))
    };
    let mut data = BytesMut::new();
    loop {
        let chunk = match tokio::time::timeout(silence, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(data.freeze()),
            Ok(Err(error)) => return Err(Fault::read(&Method::GET, &url, &error).error),
            Err(_) => return Err(Fault::silent(&Method::GET, &url, silence.as_secs()).error),
        };
        if data.len() + chunk.len() > limit {
            return Err(too_long());
        }
        data.extend_from_slice(&chunk);
    }
}

/// Adds configured headers.
///
/// # Errors
/// `InvalidArgument` when one cannot be a header.
pub(crate) fn add_headers(to: &mut HeaderMap, headers: &[(String, String)]) -> Result<()> {
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value))
        else {
            return Err(Error::invalid(format_args!("registry header {name:?} cannot be sent")));
        };
        to.append(name, value);
    }
    Ok(())
}

fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
