//! Tokens from an authorization server: by POST as OAuth2 has it, or by GET as older servers do
//! (distribution `docs/spec/auth/oauth.md`, `token.md`).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use serde::Deserialize;
use stowd_core::transfer::Secret;
use stowd_core::{Error, Result};
use url::Url;
use url::form_urlencoded::Serializer;

use super::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::fault;
use crate::repository::read_limited;
use crate::transport::{Body, Outgoing, Transport};

/// The longest answer that a server may give.
const MAX_ANSWER: usize = 1 << 20;
/// A token is no longer used so long before it expires, for requests that are on their way.
const MARGIN: Duration = Duration::from_secs(5);

/// Where tokens for a host come from.
pub(super) struct Source {
    realm: Url,
    service: String,
    scopes: Vec<String>,
    secret: Option<Secret>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: i64,
}

impl Source {
    /// Reads a bearer challenge.
    ///
    /// # Errors
    /// `Unavailable` when it names no server.
    pub(super) fn new(challenge: &Challenge, secret: Option<Secret>) -> Result<Self> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let realm: Url = realm
            .parse()
            .ok()
            .filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                Error::unavailable(format_args!(
                    "no realm specified for token auth challenge: {realm:?}"
                ))
            })?;
        let words = challenge.parameter("scope").unwrap_or_default();
        Ok(Self {
            realm,
            service: challenge.parameter("service").unwrap_or_default().to_owned(),
            scopes: words.split_whitespace().map(str::to_owned).collect(),
            secret,
        })
    }

    /// Returns the scopes that the challenge named.
    pub(super) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Gets a token and how long it may be used.
    pub(super) async fn fetch(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scopes: &[String],
    ) -> Result<(String, Option<Duration>)> {
        if let Some(secret) = &self.secret {
            let posted = self.post(endpoint, transport, scopes, secret).await;
            match posted.map_err(|error| error.context("failed to fetch oauth token"))? {
                Ok(token) => return Ok(token),
                // Servers without OAuth2 say so in many ways: GCR 404, JFrog 401, ACR 400.
                Err(refusal) if !matches!(refusal.0.as_u16(), 400 | 401 | 404 | 405) => {
                    return Err(refusal.1.context("failed to fetch oauth token"));
                }
                Err(_) => {}
            }
        }
        let act = match self.secret {
            Some(_) => "failed to fetch oauth token",
            None => "failed to fetch anonymous token",
        };
        let got =
            self.get(endpoint, transport, scopes).await.map_err(|error| error.context(act))?;
        got.map_err(|(_, error)| error.context(act))
    }

    async fn post(
        &self,
        endpoint: &Endpoint,
        transport: &Transport,
        scopes: &[String],
        secret: &Secret,
    ) -> Result<Granted> {
        let data = Bytes::from(self.form(scopes, secret));
        let mut request = self.request(endpoint, transport, Method::POST, self.realm.clone())?;
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        request.body = Some(Body {
            size: data.len() as u64,
            open: Arc::new(move || {
                let data = data.clone();
                futures_util::stream::once(async move { Ok(data) }).boxed()
            }),
        });
        exchange(transport, endpoint, &request).await
    }

    fn form(&self, scopes: &[String], secret: &Secret) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("service", &self.service).append_pair("client_id", "stowd");
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        match secret {
            Secret::Basic { username, password } => {
                form.append_pair("grant_type", "password")
                    .append_pair("username", username)
                    .append_pair("password", password);
            }
            Secret::Refresh(token) | Secret::Bearer(token) => {
                form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
            }
        }
        form.finish()
    }

    async fn get(
        &self,
        endpoint: &Endpoint,
        transport: &Transport,
        scopes: &[String],
    ) -> Result<Granted> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if !self.service.is_empty() {
                query.append_pair("service", &self.service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
        }
        let mut request = self.request(endpoint, transport, Method::GET, url)?;
        let pair = match &self.secret {
            Some(Secret::Basic { username, password }) => Some(format!("{username}:{password}")),
            Some(Secret::Refresh(token)) => Some(format!(":{token}")),
            Some(Secret::Bearer(_)) | None => None,
        };
        if let Some(pair) = pair {
            request.authorize(super::secret(&format!("Basic {}", STANDARD.encode(pair)))?);
        }
        exchange(transport, endpoint, &request).await
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        transport: &Transport,
        method: Method,
        url: Url,
    ) -> Result<Outgoing> {
        let mut request = Outgoing::new(method, url);
        request.headers.insert(USER_AGENT, super::secret(&transport.config().user_agent)?);
        crate::repository::add_headers(&mut request.private, &endpoint.headers)?;
        // A header that lets us into the registry is not for the server that gives out tokens.
        request.private.remove(http::header::AUTHORIZATION);
        Ok(request)
    }
}

/// A token with its lifetime, or how it was refused.
type Granted = Result<(String, Option<Duration>), (StatusCode, Error)>;

async fn exchange(
    transport: &Transport,
    endpoint: &Endpoint,
    request: &Outgoing,
) -> Result<Granted> {
    let response = transport.send(endpoint, request).await.map_err(|fault| fault.error)?;
    let status = response.status();
    let url = response.url().clone();
    let silence = transport.config().silence;
    let body = read_limited(response, MAX_ANSWER, silence).await?;
    if !status.is_success() {
        return Ok(Err((status, fault::status(&request.method, &url, status, &body))));
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        Error::unavailable(format_args!("unable to decode token response: {error}"))
    })?;
    let token = if answer.access_token.is_empty() { answer.token } else { answer.access_token };
    if token.is_empty() {
        return Err(Error::unavailable(
            "authorization server did not include a token in the response",
        ));
    }
    let lifetime = u64::try_from(answer.expires_in).ok().filter(|&seconds| seconds > 0);
    Ok(Ok((token, lifetime.map(|seconds| Duration::from_secs(seconds).saturating_sub(MARGIN)))))
}
