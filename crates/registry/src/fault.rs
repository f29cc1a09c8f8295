//! What can go wrong between us and a registry, in the words that people and clients look for.
//!
//! Go's clients recognise failures by their text (`server gave HTTP response to HTTPS client`,
//! `connect: connection refused`, `x509: …`), so the same events get the same words here.

use std::error::Error as StdError;
use std::io::ErrorKind as Io;

use http::{Method, StatusCode};
use stowd_core::{Error, ErrorKind};
use url::Url;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What to report.
    pub error: Error,
    /// What kind of failure it was.
    pub cause: Cause,
}

/// What a caller can do about a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The host answered a TLS greeting in plain HTTP.
    PlainHost,
    /// Nothing listens there.
    Refused,
    /// It may well work next time.
    Transient,
    /// Asking again leads nowhere.
    Lasting,
}

impl Fault {
    /// Makes a fault that asking again does not cure.
    pub(crate) fn lasting(error: Error) -> Self {
        Self { error, cause: Cause::Lasting }
    }

    /// Makes a fault for a host that went silent.
    pub(crate) fn silent(method: &Method, url: &Url, seconds: u64) -> Self {
        let what = format!("no answer for {seconds} seconds");
        Self { error: failed(method, url, &what), cause: Cause::Transient }
    }

    /// Reads an error of the HTTP library.
    pub(crate) fn read(method: &Method, url: &Url, error: &reqwest::Error) -> Self {
        let (what, hint, cause) = explain(url, error);
        let mut made = failed(method, url, &what);
        if let Some(hint) = hint {
            made = made.hint(hint);
        }
        Self { error: made, cause }
    }
}

/// Returns a URL for messages: query values, which may be secrets, are left out.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let namespace = url.query_pairs().find(|(key, _)| key == "ns").map(|(_, v)| v.into_owned());
    let queried = url.query().is_some();
    url.set_query(None);
    // These can only fail for URLs without a host, and requests have one.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    match (namespace, queried) {
        (Some(namespace), _) => format!("{url}?ns={namespace}"),
        (None, true) => format!("{url}?…"),
        (None, false) => url.into(),
    }
}

/// Makes the error for a status that is not success.
pub(crate) fn status(method: &Method, url: &Url, status: StatusCode, body: &[u8]) -> Error {
    let kind = match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
        StatusCode::RANGE_NOT_SATISFIABLE => ErrorKind::FailedPrecondition,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Unknown,
    };
    let details = details(body);
    let separator = if details.is_empty() { "" } else { ": " };
    let error = Error::new(
        kind,
        format_args!(
            "unexpected status from {method} request to {}: {status}{separator}{details}",
            shown(url)
        ),
    );
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            error.hint("the registry limits how often it may be asked: log in, or try again later")
        }
        StatusCode::UNAUTHORIZED => error.hint("give a user and password for this registry"),
        StatusCode::FORBIDDEN => error.hint("the registry knows this user but refuses the request"),
        _ => error,
    }
}

/// Reads the registry's own words from an error body (distribution-spec, "Error Codes").
fn details(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return String::new() };
    let words: Vec<String> = body
        .errors
        .iter()
        .take(4)
        .map(|item| format!("{}: {}", item.code.to_ascii_lowercase(), item.message))
        .collect();
    // It is a stranger's text on its way to a terminal.
    words.join("; ").chars().filter(|c| !c.is_control()).take(300).collect()
}

fn failed(method: &Method, url: &Url, what: &str) -> Error {
    let method = method.as_str();
    let word = format!("{}{}", &method[..1], method[1..].to_ascii_lowercase());
    Error::unavailable(format_args!("failed to do request: {word} {:?}: {what}", shown(url)))
}

fn explain(url: &Url, error: &reqwest::Error) -> (String, Option<&'static str>, Cause) {
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(0));
    if let Some(tls) = find::<rustls::Error>(error) {
        return explain_tls(host, tls);
    }
    if let Some(io) = find::<std::io::Error>(error) {
        match io.kind() {
            Io::ConnectionRefused => {
                return (
                    format!("dial tcp {address}: connect: connection refused"),
                    Some("nothing listens there: is the registry running, is the port right?"),
                    Cause::Refused,
                );
            }
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => {
                return (format!("{address}: {io}"), None, Cause::Transient);
            }
            Io::UnexpectedEof => {
                return ("unexpected EOF".to_owned(), None, Cause::Transient);
            }
            Io::HostUnreachable | Io::NetworkUnreachable => {
                return (format!("dial tcp {address}: connect: {io}"), None, Cause::Lasting);
            }
            _ => {}
        }
    }
    let words = chain(error);
    if words.contains("dns error") {
        return (
            format!("dial tcp: lookup {host}: no such host"),
            Some("the registry's name does not resolve: check its spelling and this machine's DNS"),
            Cause::Lasting,
        );
    }
    if error.is_timeout() && error.is_connect() {
        return (format!("dial tcp {address}: i/o timeout"), None, Cause::Transient);
    }
    let transient = error.is_timeout() || error.is_body() || error.is_request();
    (words, None, if transient { Cause::Transient } else { Cause::Lasting })
}

fn explain_tls(host: &str, error: &rustls::Error) -> (String, Option<&'static str>, Cause) {
    use rustls::CertificateError as Bad;
    let (what, hint) = match error {
        rustls::Error::InvalidMessage(_) => {
            return (
                "http: server gave HTTP response to HTTPS client".to_owned(),
                Some(
                    "the registry speaks plain HTTP: pass --plain-http, or configure it as http:// in hosts.toml",
                ),
                Cause::PlainHost,
            );
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => (
            "x509: certificate signed by unknown authority".to_owned(),
            Some("name the authority's certificate as \"ca\" in the registry's hosts.toml"),
        ),
        rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        ) => (
            format!("x509: certificate is not valid for {host}"),
            Some("use the name that the registry's certificate was made for"),
        ),
        rustls::Error::InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        ) => (
            "x509: certificate has expired or is not yet valid".to_owned(),
            Some("check the registry's certificate and this machine's clock"),
        ),
        rustls::Error::InvalidCertificate(other) => (format!("x509: {other}"), None),
        rustls::Error::AlertReceived(alert) => (
            format!("remote error: {alert:?}"),
            Some(
                "the registry may want a client certificate: \"client\" in the registry's hosts.toml",
            ),
        ),
        other => (other.to_string(), None),
    };
    let verify = if what.starts_with("x509") { "failed to verify certificate: " } else { "" };
    (format!("tls: {verify}{what}"), hint, Cause::Lasting)
}

/// Finds an error of a type among the sources, also inside `io::Error`, whose `source` skips it.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref())
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Joins the messages of an error's sources, which the library leaves out of its own.
fn chain(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        words.push(error.to_string());
        next = error.source();
    }
    words.dedup();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secrets() {
        let show = |url: &str| shown(&url.parse().unwrap());
        assert_eq!(show("https://a.b/v2/x?ns=docker.io"), "https://a.b/v2/x?ns=docker.io");
        assert_eq!(show("https://u:p@a.b/v2/x?sig=secret"), "https://a.b/v2/x?…");
        assert_eq!(show("http://a.b:5000/v2/"), "http://a.b:5000/v2/");
    }

    #[test]
    fn repeats_the_registrys_words_without_its_control_characters() {
        let url: Url = "https://a.b/v2/x".parse().unwrap();
        let body = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31mway"}]}"#;
        let error = status(&Method::GET, &url, StatusCode::FORBIDDEN, body);
        assert_eq!(
            error.to_string(),
            "unexpected status from GET request to https://a.b/v2/x: 403 Forbidden: denied: no [31mway: permission denied"
        );
        assert!(error.hint_text().is_some());
        let error = status(&Method::GET, &url, StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
