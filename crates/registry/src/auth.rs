//! Who we are to a registry: basic authentication, and tokens from an authorization server.
//!
//! Nothing is sent unasked. A 401 names a way in; what we learn from it is kept for the life of
//! the repository, so that one pull asks for one token per scope, and again when it has expired
//! or the registry no longer takes it (distribution `docs/spec/auth`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use stowd_core::transfer::{Credentials, Secret};
use stowd_core::{Error, Result};
use tokio::sync::Mutex;

use crate::endpoint::Endpoint;
use crate::transport::Transport;

mod challenge;
mod token;

use challenge::Challenge;

/// What we know about getting in, by host.
pub(crate) struct Authorizer {
    reference: String,
    credentials: Option<Arc<dyn Credentials>>,
    ways: Mutex<HashMap<String, Way>>,
}

/// What a caller does after a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Ask again, with what [`Authorizer::header`] now gives.
    Retry,
    /// There is no way in that we know.
    GiveUp,
}

/// A way into a host.
enum Way {
    /// Always the same header.
    Fixed(HeaderValue),
    /// A token for each set of scopes.
    Tokens { source: token::Source, cache: HashMap<String, Token> },
}

struct Token {
    header: HeaderValue,
    expires: Option<Instant>,
}

impl Authorizer {
    /// Makes an authorizer for the hosts of one reference.
    pub(crate) fn new(reference: String, credentials: Option<Arc<dyn Credentials>>) -> Self {
        Self { reference, credentials, ways: Mutex::new(HashMap::new()) }
    }

    /// Returns the header that lets a request with these scopes in, if the host wants one.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>> {
        // Held while a token is fetched: requests of one pull wait for one token together.
        let mut ways = self.ways.lock().await;
        match ways.get_mut(&endpoint.authority) {
            None => Ok(None),
            Some(Way::Fixed(header)) => Ok(Some(header.clone())),
            Some(Way::Tokens { source, cache }) => {
                let mut scopes = [scopes, source.scopes()].concat();
                scopes.sort();
                scopes.dedup();
                let key = scopes.join(" ");
                if let Some(token) = cache.get(&key)
                    && token.expires.is_none_or(|time| time > Instant::now())
                {
                    return Ok(Some(token.header.clone()));
                }
                let (text, lifetime) = source.fetch(transport, endpoint, &scopes).await?;
                let header = secret(&format!("Bearer {text}"))?;
                let expires = lifetime.map(|lifetime| Instant::now() + lifetime);
                cache.insert(key, Token { header: header.clone(), expires });
                Ok(Some(header))
            }
        }
    }

    /// Learns from a 401. `sent` is what the refused request carried, `refusals` how often in a row
    /// it has been refused.
    ///
    /// # Errors
    /// `Unauthenticated` when the host does not take what we have.
    pub(crate) async fn refused(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
        refusals: u32,
    ) -> Result<Advice> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenge::parse).collect();
        let find = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        let host = &endpoint.authority;
        if let Some(bearer) = find("bearer") {
            if refusals > 1 && sent.is_some() {
                let words = bearer.parameter("error").unwrap_or("token refused");
                let words: String = words.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(failed(&format!("server message: {words}")));
            }
            let mut ways = self.ways.lock().await;
            let known = match ways.get_mut(host) {
                Some(Way::Tokens { cache, .. }) => {
                    cache.retain(|_, token| Some(&token.header) != sent);
                    sent.is_none() || bearer.parameter("error").is_none()
                }
                _ => false,
            };
            if !known {
                let way = match self.secret(host).await? {
                    Some(Secret::Bearer(token)) => Way::Fixed(secret(&format!("Bearer {token}"))?),
                    other => Way::Tokens {
                        source: token::Source::new(bearer, other)?,
                        cache: HashMap::new(),
                    },
                };
                ways.insert(host.clone(), way);
            }
            return Ok(Advice::Retry);
        }
        if find("basic").is_some() {
            let Some(found) = self.secret(host).await? else {
                return Err(failed("no basic auth credentials")
                    .hint(format_args!("give a user and password for {host}")));
            };
            let header = match found {
                Secret::Basic { username, password } => {
                    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))?
                }
                Secret::Bearer(token) => secret(&format!("Bearer {token}"))?,
                Secret::Refresh(_) => return Err(failed("no basic auth credentials")),
            };
            if sent == Some(&header) {
                return Err(failed("incorrect username or password")
                    .hint(format_args!("check the user and password for {host}")));
            }
            self.ways.lock().await.insert(host.clone(), Way::Fixed(header));
            return Ok(Advice::Retry);
        }
        Ok(Advice::GiveUp)
    }

    async fn secret(&self, host: &str) -> Result<Option<Secret>> {
        match &self.credentials {
            Some(credentials) => credentials.secret(&self.reference, host).await,
            None => Ok(None),
        }
    }
}

fn secret(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::invalid("the registry's credentials hold characters that HTTP forbids")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn failed(why: &str) -> Error {
    Error::unauthenticated(format_args!("authorization failed: {why}"))
}
