//! A host that serves a repository, and what it may be asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a host may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities(u8);

/// How to speak to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// TLS, and plain HTTP if it turns out that the host does not speak TLS.
    HttpsThenHttp,
}

/// What TLS needs to know of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Files with certificates of authorities to trust, besides the system's.
    pub authorities: Vec<PathBuf>,
    /// Files with our certificate and its key; without a second file the first holds both.
    pub identities: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether not to check who the host is; nothing where nothing was said.
    pub skip_verify: Option<bool>,
}

/// A host that serves a repository.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Its name or address, with a port if that is not the scheme's.
    pub authority: String,
    /// Where its API begins, mostly `/v2`.
    pub path: String,
    /// What it may be asked for.
    pub capabilities: Capabilities,
    /// Headers that it is to get.
    pub headers: Vec<(String, String)>,
    /// What TLS needs to know.
    pub tls: Tls,
    /// How long connecting may take.
    pub dial_timeout: Option<Duration>,
    /// Set once a [`Scheme::HttpsThenHttp`] host was found to speak plain HTTP.
    pub plain: AtomicBool,
}

impl Capabilities {
    /// Gives manifests by digest, and blobs.
    pub(crate) const PULL: Self = Self(1);
    /// Says what a tag stands for.
    pub(crate) const RESOLVE: Self = Self(2);
    /// Takes manifests and blobs.
    pub(crate) const PUSH: Self = Self(4);
    /// Lists what refers to a manifest.
    pub(crate) const REFERRERS: Self = Self(8);
    /// Everything.
    pub(crate) const ALL: Self = Self(15);
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// Returns both together.
    pub(crate) const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Says whether all of `wanted` are there.
    pub(crate) const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl Tls {
    /// Says whether anything was said about TLS.
    pub(crate) fn is_explicit(&self) -> bool {
        !self.authorities.is_empty() || !self.identities.is_empty() || self.skip_verify.is_some()
    }
}

impl Endpoint {
    /// Returns the scheme to use now.
    pub(crate) fn scheme_now(&self) -> &'static str {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::HttpsThenHttp if self.plain.load(Ordering::Relaxed) => "http",
            Scheme::Https | Scheme::HttpsThenHttp => "https",
        }
    }

    /// Says whether a URL leads to this host.
    pub(crate) fn serves(&self, url: &url::Url) -> bool {
        let own = format!("{}://{}", url.scheme(), self.authority).parse::<url::Url>();
        own.is_ok_and(|own| crate::transport::same_host(&own, url))
    }

    /// Says whether the host stands in for another, which it must then be told.
    pub(crate) fn is_mirror_of(&self, host: &str) -> bool {
        self.authority != host && !(host == "docker.io" && self.authority == DOCKER_REGISTRY)
    }
}

/// The host that serves images of `docker.io`.
pub(crate) const DOCKER_REGISTRY: &str = "registry-1.docker.io";

/// Splits a port off a host.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            (host, Some(port))
        }
        _ => (authority, None),
    }
}

/// Says whether a host, with or without port, is this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = split_port(authority).0;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine() {
        for local in ["localhost", "localhost:5000", "127.0.0.1", "127.9.0.1:80", "[::1]:5000"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["localhost.example", "10.0.0.1:5000", "[::2]:1", "docker.io", ""] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn splits_ports() {
        assert_eq!(split_port("a.b:80"), ("a.b", Some("80")));
        assert_eq!(split_port("a.b"), ("a.b", None));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("[::1]:5000"), ("[::1]", Some("5000")));
    }
}
