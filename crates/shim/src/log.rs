//! Log lines in containerd's form (logfmt), which the daemon passes on to its own log.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// A state changed.
    Info,
    /// Something did not go as asked, and life goes on.
    Warning,
    /// Something failed that nobody is told of otherwise.
    Error,
}

/// Writes one line to standard error, at once or not at all: where that is a pipe that nobody
/// empties, a container must not wait for it.
pub(crate) fn line(level: Level, message: impl Display, fields: &[(&str, &dyn Display)]) {
    let level = match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let now = jiff::Timestamp::now();
    // Writing to a String cannot fail.
    let mut text = format!("time=\"{now:.9}\" level={level} msg={:?}", message.to_string());
    for (name, value) in fields {
        let value = value.to_string();
        let _ = if value.contains([' ', '"', '=', '\n']) || value.is_empty() {
            write!(text, " {name}={value:?}")
        } else {
            write!(text, " {name}={value}")
        };
    }
    text.push('\n');
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line at level `info`.
pub(crate) fn info(message: impl Display, fields: &[(&str, &dyn Display)]) {
    line(Level::Info, message, fields);
}

/// Writes a line at level `warning`.
pub(crate) fn warn(message: impl Display, fields: &[(&str, &dyn Display)]) {
    line(Level::Warning, message, fields);
}

/// Writes a line at level `error`.
pub(crate) fn error(message: impl Display, fields: &[(&str, &dyn Display)]) {
    line(Level::Error, message, fields);
}
