//! Logs: to standard error, in text or JSON, from a level on.

use std::str::FromStr;

use stowd_core::Error;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

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

/// The process's log.
#[derive(Clone, Debug)]
pub struct Logger(reload::Handle<LevelFilter, Registry>);

impl Logger {
    /// Starts logging, for the whole process and once.
    ///
    /// # Errors
    /// `InvalidArgument` for a format that is neither `text` nor `json`; `AlreadyExists` when logging
    /// was started before.
    pub fn start(level: Level, format: &str) -> Result<Self, Error> {
        let (filter, handle) = reload::Layer::new(level.0);
        let registry = tracing_subscriber::registry().with(filter);
        let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
        let started = match format {
            "" | "text" => registry.with(lines.with_ansi(false)).try_init(),
            "json" => registry.with(lines.json().flatten_event(true)).try_init(),
            other => {
                return Err(
                    Error::invalid(format_args!("log format {other:?}")).hint("text or json")
                );
            }
        };
        match started {
            Ok(()) => Ok(Self(handle)),
            Err(error) => Err(Error::already_exists(format_args!("logging: {error}"))),
        }
    }

    /// Changes the level.
    pub fn set(&self, level: Level) {
        // It fails only when the log is gone, and nobody could be told.
        let _ = self.0.modify(|filter| *filter = level.0);
    }
}
