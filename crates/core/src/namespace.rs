//! Namespaces and the rule for identifiers.
//!
//! A namespace lets several orchestrators share a host without seeing each other's objects. The
//! same rule of spelling holds for namespaces, containers and execs: letters and digits, with
//! single `.`, `_` or `-` between them, at most 76 bytes (containerd `identifiers`).

use std::fmt;

use crate::{Error, Result};

/// The longest identifier.
pub const MAX_IDENTIFIER: usize = 76;

/// A namespace's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(String);

impl Namespace {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] when it breaks the rule of identifiers.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        check_identifier(&name)?;
        Ok(Self(name))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks an identifier of a namespace, container or exec.
///
/// # Errors
/// [`crate::ErrorKind::InvalidArgument`], with the rule, when it is empty, too long or misspelt.
pub fn check_identifier(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::invalid("identifier must not be empty"));
    }
    if id.len() > MAX_IDENTIFIER {
        return Err(Error::invalid(format_args!(
            "identifier {id:?} greater than maximum length ({MAX_IDENTIFIER} characters)"
        )));
    }
    let alphanumeric = |b: &u8| b.is_ascii_alphanumeric();
    let bytes = id.as_bytes();
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    let inside = bytes.windows(2).all(|pair| {
        let separator = |b: u8| matches!(b, b'.' | b'_' | b'-');
        (alphanumeric(&pair[0]) || separator(pair[0]))
            && (alphanumeric(&pair[1]) || separator(pair[1]))
            && !(separator(pair[0]) && separator(pair[1]))
    });
    if ends && inside {
        Ok(())
    } else {
        Err(Error::invalid(format_args!(
            "identifier {id:?} must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for good in ["default", "k8s.io", "a", "0", "plugins.moby", "a-b_c.d", "A1"] {
            assert!(check_identifier(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "a-_b", "a/b", "ä", "a b", "-", &"x".repeat(77)] {
            assert!(check_identifier(bad).is_err(), "{bad}");
        }
        assert!(check_identifier(&"x".repeat(76)).is_ok());
    }
}
