//! `plugins`.

mod runtime;

use std::collections::BTreeSet;

use clap::Subcommand;
use serde::Serialize;
use stowd_core::filters::Filters;
use stowd_core::introspection::{Introspection as _, Plugin};
use stowd_core::{ErrorKind, Labels, Platform};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::{Format, Row};
use crate::table::Layout;
use crate::tabs::{self, Fill};

/// Show what the daemon is made of
#[derive(Debug, Subcommand)]
pub(crate) enum Plugins {
    /// List the daemon's plugins
    #[command(visible_alias = "ls")]
    List {
        /// Print only the plugins' ids
        #[arg(short, long)]
        quiet: bool,
        /// Print all that is known of each plugin
        #[arg(short, long)]
        detailed: bool,
        /// Only plugins that pass one of these, such as id==overlayfs
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Show what a runtime is and can do
    InspectRuntime(runtime::InspectRuntime),
}

#[derive(Serialize)]
struct Line {
    r#type: String,
    id: String,
    platforms: BTreeSet<String>,
    status: &'static str,
    requires: Vec<String>,
    exports: Labels,
    capabilities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["TYPE", "ID", "PLATFORMS", "STATUS"];

    fn cells(&self) -> Vec<String> {
        let platforms = match self.platforms.is_empty() {
            true => "-".to_owned(),
            false => self.platform_words(),
        };
        vec![self.r#type.clone(), self.id.clone(), platforms, self.status.to_owned()]
    }
}

impl Plugins {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let (quiet, detailed, filters) = match self {
            Self::List { quiet, detailed, filters } => (quiet, detailed, filters),
            Self::InspectRuntime(command) => return command.run(at).await,
        };
        let filters = Filters::parse(&filters)?;
        let client = at.client().await?;
        let found = client.connection().introspection().plugins(&filters).await?;
        if quiet {
            for plugin in found {
                at.printer.line(plugin.id)?;
            }
            return Ok(());
        }
        let lines: Vec<Line> = found.into_iter().map(Line::from).collect();
        if detailed && at.printer.format() == Format::Text {
            let all: Vec<String> = lines.iter().map(Line::details).collect();
            let text = tabs::set(&all.join("\t\t\t\n"), Fill::Spaces { least: 4, gap: 4 });
            return Ok(at.printer.bytes(text.as_bytes())?);
        }
        Ok(at.printer.rows(Layout::WIDE, &lines)?)
    }
}

impl From<Plugin> for Line {
    fn from(plugin: Plugin) -> Self {
        let error = plugin.init_error;
        let status = match &error {
            None => "ok",
            Some(error) if error.message.contains("skip plugin") => "skip",
            Some(_) => "error",
        };
        // The version of an operating system is not shown.
        let platform = |platform: &Platform| {
            Platform {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                variant: platform.variant.clone(),
                ..Platform::default()
            }
            .to_string()
        };
        Self {
            platforms: plugin.platforms.iter().map(platform).collect(),
            r#type: plugin.kind,
            id: plugin.id,
            status,
            requires: plugin.requires,
            exports: plugin.exports,
            capabilities: plugin.capabilities,
            error: error.map(|error| Failure { code: code(error.kind), message: error.message }),
        }
    }
}

impl Line {
    fn platform_words(&self) -> String {
        let words: Vec<&str> = self.platforms.iter().map(String::as_str).collect();
        words.join(",")
    }

    /// Lines for `--detailed`, cells ended by tabs.
    fn details(&self) -> String {
        let mut text = format!("Type:\t {}\nID:\t {}\n", self.r#type, self.id);
        if !self.requires.is_empty() {
            text.push_str("Requires:\t\n");
            self.requires.iter().for_each(|it| text.push_str(&format!("\t {it}\n")));
        }
        if !self.platforms.is_empty() {
            text.push_str(&format!("Platforms:\t {}\n", self.platform_words()));
        }
        if !self.exports.is_empty() {
            text.push_str("Exports:\t\n");
            self.exports.iter().for_each(|(k, v)| text.push_str(&format!("\t {k} \t {v}\n")));
        }
        if !self.capabilities.is_empty() {
            text.push_str(&format!("Capabilities:\t {}\n", self.capabilities.join(",")));
        }
        if let Some(Failure { code, message }) = &self.error {
            text.push_str(&format!("Error:\t\n\t Code:\t {code}\n\t Message:\t {message}\n"));
        }
        text
    }
}

/// A kind's gRPC code, by gRPC's names.
pub(super) fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unknown => "Unknown",
        ErrorKind::InvalidArgument => "InvalidArgument",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::AlreadyExists => "AlreadyExists",
        ErrorKind::PermissionDenied => "PermissionDenied",
        ErrorKind::ResourceExhausted => "ResourceExhausted",
        ErrorKind::FailedPrecondition | ErrorKind::Conflict | ErrorKind::NotModified => {
            "FailedPrecondition"
        }
        ErrorKind::Aborted => "Aborted",
        ErrorKind::OutOfRange => "OutOfRange",
        ErrorKind::NotImplemented => "Unimplemented",
        ErrorKind::Internal => "Internal",
        ErrorKind::Unavailable => "Unavailable",
        ErrorKind::DataLoss => "DataLoss",
        ErrorKind::Unauthenticated => "Unauthenticated",
        ErrorKind::Canceled => "Canceled",
        ErrorKind::DeadlineExceeded => "DeadlineExceeded",
    }
}
