//! Sends one request to one host: TLS or not, redirects, and a deadline for silence.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, LOCATION};
use http::{Method, StatusCode};
use reqwest::{Client, Response};
use stowd_core::{Error, Result};
use url::Url;

use crate::client::Config;
use crate::endpoint::{Endpoint, Scheme, is_loopback};
use crate::fault::{Cause, Fault, shown};
use crate::tls;

/// The most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// What a request carries. It can be made anew for each try.
#[derive(Clone)]
pub(crate) struct Body {
    /// Its length in bytes.
    pub size: u64,
    /// Starts it from its beginning.
    pub open: Arc<dyn Fn() -> BoxStream<'static, Result<Bytes>> + Send + Sync>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub method: Method,
    pub url: Url,
    /// Headers that any host may see.
    pub headers: HeaderMap,
    /// Headers that only the URL's own host may see.
    pub private: HeaderMap,
    pub body: Option<Body>,
}

/// The connections of one repository.
pub(crate) struct Transport {
    config: Config,
    clients: Mutex<HashMap<Pool, Client>>,
}

/// Connections that may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pool {
    endpoint: String,
    direct: bool,
    secure: bool,
}

impl Transport {
    /// Makes a transport; nothing is connected or loaded yet.
    pub(crate) fn new(config: Config) -> Self {
        Self { config, clients: Mutex::new(HashMap::new()) }
    }

    /// Returns the settings that it was made with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Sends a request as the settings of `endpoint` say and follows redirects. The response's
    /// body has not been read.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        request: &Outgoing,
    ) -> Result<Response, Fault> {
        match self.follow(endpoint, request.clone()).await {
            Err(fault)
                if endpoint.scheme == Scheme::HttpsThenHttp
                    && request.url.scheme() == "https"
                    && endpoint.serves(&request.url)
                    && fault.cause == Cause::PlainHost =>
            {
                endpoint.plain.store(true, Ordering::Relaxed);
                let mut request = request.clone();
                // Between http and https this cannot fail.
                let _ = request.url.set_scheme("http");
                self.follow(endpoint, request).await
            }
            other => other,
        }
    }

    async fn follow(&self, endpoint: &Endpoint, mut request: Outgoing) -> Result<Response, Fault> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(endpoint, &request).await?;
            let Some(next) = redirect(&request, &response)? else { return Ok(response) };
            if !same_host(&next, &request.url) {
                request.private = HeaderMap::new();
            }
            if response.status() == StatusCode::SEE_OTHER && request.method != Method::HEAD {
                request.method = Method::GET;
                request.body = None;
            }
            request.url = next;
        }
        Err(Fault::lasting(Error::unavailable(format_args!(
            "{} request to {}: stopped after {MAX_REDIRECTS} redirects",
            request.method,
            shown(&request.url)
        ))))
    }

    async fn exchange(&self, endpoint: &Endpoint, request: &Outgoing) -> Result<Response, Fault> {
        let client = self.client(endpoint, &request.url).map_err(Fault::lasting)?;
        let mut made = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .headers(request.private.clone());
        let sent = Arc::new(AtomicU64::new(0));
        if let Some(body) = &request.body {
            let counter = Arc::clone(&sent);
            let stream = (body.open)().inspect(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            made = made.header(CONTENT_LENGTH, body.size).body(reqwest::Body::wrap_stream(stream));
        }
        let answer = made.send();
        tokio::pin!(answer);
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.config.silence, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    return Err(Fault::read(&request.method, &request.url, &error));
                }
                // A body on its way is a sign of life; the answer comes after it.
                Err(_) => match sent.load(Ordering::Relaxed) {
                    now if now > before => before = now,
                    _ => {
                        let seconds = self.config.silence.as_secs();
                        return Err(Fault::silent(&request.method, &request.url, seconds));
                    }
                },
            }
        }
    }

    fn client(&self, endpoint: &Endpoint, url: &Url) -> Result<Client> {
        let pool = Pool {
            endpoint: format!("{}{}", endpoint.authority, endpoint.path),
            direct: is_loopback(url.host_str().unwrap_or_default()),
            secure: url.scheme() == "https",
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&pool) {
            return Ok(client.clone());
        }
        let client = self.connect(endpoint, &pool)?;
        clients.insert(pool, client.clone());
        Ok(client)
    }

    fn connect(&self, endpoint: &Endpoint, pool: &Pool) -> Result<Client> {
        // Reading the system's authorities costs milliseconds that plain HTTP need not pay.
        let tls = if pool.secure { tls::settings(&endpoint.tls)? } else { tls::nobody()? };
        let mut builder = Client::builder()
            .use_preconfigured_tls(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(endpoint.dial_timeout.unwrap_or(self.config.connect))
            .tcp_nodelay(true);
        if pool.direct {
            // As in Go: a proxy is never asked for this machine.
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| Error::internal(format_args!("set up the HTTP client: {error}")))
    }
}

/// Returns where a response sends us, if it does.
fn redirect(request: &Outgoing, response: &Response) -> Result<Option<Url>, Fault> {
    let followed = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            request.body.is_none()
        }
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => false,
    };
    let Some(location) = response.headers().get(LOCATION).filter(|_| followed) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|location| request.url.join(location).ok());
    match next {
        Some(next) if matches!(next.scheme(), "http" | "https") && next.has_host() => {
            Ok(Some(next))
        }
        _ => Err(Fault::lasting(Error::unavailable(format_args!(
            "{} request to {}: redirected to nowhere",
            request.method,
            shown(&request.url)
        )))),
    }
}

/// Says whether two URLs lead to the same host, port and scheme.
pub(crate) fn same_host(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

impl std::fmt::Debug for Outgoing {
    /// Leaves the private headers out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, shown(&self.url))
    }
}

impl Outgoing {
    /// Makes a request without headers and body.
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), private: HeaderMap::new(), body: None }
    }

    /// Says who is asking.
    pub(crate) fn authorize(&mut self, value: http::HeaderValue) {
        self.private.insert(AUTHORIZATION, value);
    }
}
