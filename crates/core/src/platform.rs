//! Platforms and which of several an image should be taken for (OCI image-spec, image-index.md).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a program was built for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The instruction set, in Go's words: `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `linux`, …
    #[serde(default)]
    pub os: String,
    /// The version of the operating system, where it matters.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features that the operating system must have.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the instruction set: `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Chooses among platforms: what fits at all, and what fits better.
#[derive(Clone, Debug)]
pub struct Matcher(Vec<Platform>);

impl Platform {
    /// Returns the platform that this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        let variant = if architecture == "arm64" { "v8" } else { "" };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.to_owned(),
            ..Self::default()
        }
    }

    /// Parses `os[/arch[/variant]]`, or an architecture alone.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when there are too many parts, or strange characters.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let good = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if parts.len() > 3 || !parts.iter().all(good) {
            return Err(Error::invalid(format_args!(
                "{text:?} is an invalid platform: it must be os[/arch[/variant]]"
            )));
        }
        let made = match *parts.as_slice() {
            [one] if is_known_os(one) => Self { os: one.to_owned(), ..Self::host() },
            [one] => {
                Self { os: "linux".to_owned(), architecture: one.to_owned(), ..Self::default() }
            }
            [os, architecture, ref rest @ ..] => Self {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: rest.first().map(|&v| v.to_owned()).unwrap_or_default(),
                ..Self::default()
            },
            [] => Self::default(),
        };
        Ok(made.normalized())
    }

    /// Returns the same platform in Go's spelling (`x86_64` is `amd64`, `arm64` has variant `v8`).
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = self.os.to_ascii_lowercase();
        if self.os == "macos" {
            "darwin".clone_into(&mut self.os);
        }
        let arch = self.architecture.to_ascii_lowercase();
        let variant = self.variant.to_ascii_lowercase();
        let (arch, variant) = match (arch.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", "v8"),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (a, v) => (a, v),
        };
        self.architecture = arch.to_owned();
        self.variant = variant.to_owned();
        self
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(&self.os)?;
        for part in [&self.architecture, &self.variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

impl Matcher {
    /// Matches this platform and what also runs on it (older variants, 32 bit ARM on 64 bit).
    pub fn only(platform: &Platform) -> Self {
        let wanted = platform.clone().normalized();
        let like = |architecture: &str, variant: &str| Platform {
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            ..wanted.clone()
        };
        let mut list = vec![wanted.clone()];
        let level = |v: &str| v.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        match wanted.architecture.as_str() {
            "amd64" => {
                let top = level(&wanted.variant).unwrap_or(1);
                list.extend((2..top).rev().map(|n| like("amd64", &format!("v{n}"))));
                if top > 1 {
                    list.push(like("amd64", ""));
                }
                list.push(like("386", ""));
            }
            "arm64" => {
                if wanted.variant != "v8" {
                    list.push(like("arm64", "v8"));
                }
                list.extend([8, 7, 6, 5].map(|n| like("arm", &format!("v{n}"))));
            }
            "arm" => {
                let top = level(&wanted.variant).unwrap_or(7);
                list.extend((5..top).rev().map(|n| like("arm", &format!("v{n}"))));
            }
            _ => {}
        }
        Self(list)
    }

    /// Matches what runs on this host.
    pub fn host() -> Self {
        Self::only(&Platform::host())
    }

    /// Matches any of these platforms, the first best. An empty list matches everything.
    pub fn any_of(platforms: &[Platform]) -> Self {
        Self(platforms.iter().flat_map(|platform| Self::only(platform).0).collect())
    }

    /// Matches everything.
    pub fn all() -> Self {
        Self(Vec::new())
    }

    /// Says whether every platform passes.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether a platform passes.
    pub fn matches(&self, platform: &Platform) -> bool {
        self.rank(platform).is_some()
    }

    /// Returns how good a platform fits, 0 being best, or nothing when it does not.
    pub fn rank(&self, platform: &Platform) -> Option<usize> {
        if self.0.is_empty() {
            return Some(0);
        }
        let platform = platform.clone().normalized();
        self.0.iter().position(|wanted| {
            wanted.os == platform.os
                && wanted.architecture == platform.architecture
                && wanted.variant == platform.variant
                && (wanted.os_version.is_empty() || wanted.os_version == platform.os_version)
                && platform
                    .os_features
                    .iter()
                    .all(|f| wanted.os_features.is_empty() || wanted.os_features.contains(f))
        })
    }
}

fn is_known_os(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "linux" | "windows" | "darwin" | "macos" | "freebsd" | "netbsd" | "openbsd" | "solaris"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_normalizes() {
        let show = |text: &str| Platform::parse(text).unwrap().to_string();
        assert_eq!(show("linux/x86_64"), "linux/amd64");
        assert_eq!(show("linux/aarch64"), "linux/arm64/v8");
        assert_eq!(show("arm64"), "linux/arm64/v8");
        assert_eq!(show("linux/arm"), "linux/arm/v7");
        assert_eq!(show("linux/amd64/v3"), "linux/amd64/v3");
        for bad in ["", "a/b/c/d", "linux//v7", "lin ux"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefers_the_nearest() {
        let arm64 = Matcher::only(&Platform::parse("linux/arm64").unwrap());
        let rank = |text: &str| arm64.rank(&Platform::parse(text).unwrap());
        assert_eq!(rank("linux/arm64/v8"), Some(0));
        assert!(rank("linux/arm/v7") < rank("linux/arm/v6"));
        assert_eq!(rank("linux/amd64"), None);
        assert_eq!(rank("windows/arm64"), None);
    }
}
