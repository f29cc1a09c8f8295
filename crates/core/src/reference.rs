//! Names of images on registries: `host[:port]/path[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

/// The registry that short names mean.
pub const DEFAULT_HOST: &str = "docker.io";
/// The repository prefix that one-word names mean on the default registry.
pub const DEFAULT_PREFIX: &str = "library/";
/// The tag that a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";

/// A full reference. Parsing adds nothing: short names are refused, see [`Reference::normalize`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry's host, with its port if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the repository on that host.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns `host/repository`.
    pub fn locator(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns what a registry is asked for: the digest if there is one, else the tag.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when the reference has neither.
    pub fn object(&self) -> Result<String> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(digest.to_string()),
            (None, Some(tag)) => Ok(tag.clone()),
            (None, None) => Err(Error::invalid(format_args!("object required in {self}"))
                .hint("add a tag or a digest, for example :latest")),
        }
    }

    /// Returns the same repository with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Parses a name as people type it: `busybox` means `docker.io/library/busybox:latest`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when it is not a name even so.
    pub fn normalize(text: &str) -> Result<Self> {
        let named_host = text.split_once('/').is_some_and(|(first, _)| {
            first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase)
        });
        let full = match (named_host, text.contains('/')) {
            (true, _) => text.to_owned(),
            (false, true) => format!("{DEFAULT_HOST}/{text}"),
            (false, false) => format!("{DEFAULT_HOST}/{DEFAULT_PREFIX}{text}"),
        };
        let full = full.replacen(
            "index.docker.io/",
            "docker.io/",
            usize::from(full.starts_with("index.docker.io/")),
        );
        let mut made: Self = full.parse()?;
        if made.host == DEFAULT_HOST && !made.repository.contains('/') {
            made.repository.insert_str(0, DEFAULT_PREFIX);
        }
        if made.tag.is_none() && made.digest.is_none() {
            made.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(made)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format_args!("invalid reference format: {text:?}: {why}"))
                .hint("write it in full, for example registry.example/path/name:tag")
        };
        if text.contains("://") {
            return Err(bad("a reference has no scheme"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|error| bad(error.message()))?))
            }
            None => (text, None),
        };
        let (host, path) =
            rest.split_once('/').ok_or_else(|| bad("the registry's host is missing"))?;
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_host(host) {
            return Err(bad("the host is misspelt"));
        }
        if !repository.split('/').all(is_path_component) || repository.len() > 255 {
            return Err(bad("the repository must be lowercase words joined by . _ - and /"));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad("the tag is misspelt"));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((address, rest)) => {
                let good = address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return good && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok()
}

fn is_path_component(part: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = part.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
        && !part.contains("..")
        && !part.contains("___")
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_short_names() {
        let show = |text: &str| Reference::normalize(text).unwrap().to_string();
        assert_eq!(show("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(show("busybox:1.36"), "docker.io/library/busybox:1.36");
        assert_eq!(show("me/app"), "docker.io/me/app:latest");
        assert_eq!(show("docker.io/busybox"), "docker.io/library/busybox:latest");
        assert_eq!(show("localhost/app"), "localhost/app:latest");
        assert_eq!(show("127.0.0.1:5000/app:x"), "127.0.0.1:5000/app:x");
        let digest = Digest::of(b"");
        assert_eq!(show(&format!("a.b/c@{digest}")), format!("a.b/c@{digest}"));
    }

    #[test]
    fn splits_the_parts() {
        let digest = Digest::of(b"");
        let parsed: Reference = format!("[::1]:5000/a/b:t@{digest}").parse().unwrap();
        assert_eq!(parsed.host(), "[::1]:5000");
        assert_eq!(parsed.repository(), "a/b");
        assert_eq!(parsed.tag(), Some("t"));
        assert_eq!(parsed.object().unwrap(), digest.to_string());
    }

    #[test]
    fn refuses_bad_names() {
        for bad in [
            "",
            "busybox",
            "/a",
            "host/",
            "host/A",
            "host/a:",
            "host/a:t t",
            "host/../a",
            "host/a//b",
            "http://host/a",
            "host:x/a",
            "host/a@sha256:00",
            "ho st/a",
            "host/a:-x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
