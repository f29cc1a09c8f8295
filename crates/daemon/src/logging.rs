//! Logs: to standard error, in text or JSON, from a level on.

use std::str::FromStr;

use stowd_core::Error;
use tracing_subscriber::filter::LevelFilter;

/// From which level on is logged, in containerd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self(match text {
            "trace" => LevelFilter::TRACE,
            "debug" => LevelFilter::DEBUG,
            "" | "info" => LevelFilter::INFO,
            "warn" | "warning" => LevelFilter::WARN,
            "error" => LevelFilter::ERROR,
            "fatal" | "panic" => LevelFilter::OFF,
            other => {
                return Err(Error::invalid(format_args!("log level {other:?}"))
                    .hint("one of trace, debug, info, warn, error, fatal, panic"));
            }
        }))
    }
}

/// Starts logging, for the whole process and once.
///
/// # Errors
/// `InvalidArgument` for a format that is neither `text` nor `json`; `AlreadyExists` when logging
/// was started before.
pub fn start(level: Level, format: &str) -> Result<(), Error> {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level.0)
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match format {
        "" | "text" => builder.with_ansi(false).try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => {
            return Err(Error::invalid(format_args!("log format {other:?}")).hint("text or json"));
        }
    };
    started.map_err(|error| Error::already_exists(format_args!("logging: {error}")))
}
