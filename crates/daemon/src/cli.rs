//! The daemon's command line: containerd's.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use stowd::config::Document;
use stowd::{Config, Level};
use stowd_core::{Error, Result};

use crate::publish::Publish;

/// What is to be done.
pub(crate) enum Command {
    /// Print this and end.
    Print(String),
    /// Run the daemon.
    Serve(Asked),
    /// Publish an event to the daemon at an address.
    Publish(Publish, Option<PathBuf>),
    /// Become a hook's program.
    Hook(Vec<String>),
}

/// What the flags ask for.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Path to the configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set the logging level [trace, debug, info, warn, error, fatal, panic]
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Address for the gRPC server
    #[arg(short, long, value_name = "SOCKET")]
    address: Option<PathBuf>,
    /// Root directory: what must outlive a restart of the machine
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// State directory: what need not
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// What flags and file together mean.
pub(crate) struct Resolved {
    pub(crate) document: Document,
    pub(crate) config: Config,
    pub(crate) level: Level,
    /// What in the configuration has no effect.
    pub(crate) notes: Vec<String>,
}

/// A container runtime daemon that takes containerd's place
#[derive(Debug, Parser)]
#[command(name = "stowd", disable_version_flag = true)]
struct Flags {
    #[command(flatten)]
    asked: Asked,
    /// Print the version
    #[arg(short, long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Group>,
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Information on the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Publish an event, read from standard input as a protobuf Any
    Publish(Publish),
    /// Run a program as an OCI hook, with what is known of the container put into its arguments
    OciHook {
        /// The program and its arguments, with `{{id}}`, `{{bundle}}`, `{{rootfs}}`, `{{pid}}`,
        /// `{{status}}` and `{{annotation "KEY"}}`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the default configuration
    Default(Form),
    /// Print the configuration with all that it imports and all defaults
    Dump(Form),
    /// Print the configuration in the newest form
    Migrate(Form),
}

/// The form in which configuration is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Form {
    /// Version to print: 3, or 4 for containerd from 2.3 on [default: 3, or 4 where a file is]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(3..=4))]
    to: Option<u32>,
}

/// Reads the command line; ends the process when it is wrong or asks for help.
///
/// # Errors
/// Those of what is to be printed.
pub(crate) fn parse() -> Result<Command> {
    let flags = Flags::parse();
    if flags.version {
        // Four words, as scripts split them.
        let (version, revision) = (stowd::VERSION, stowd::REVISION);
        return Ok(Command::Print(format!(
            "containerd github.com/stowd/stowd {version} {revision}\n"
        )));
    }
    let (document, form) = match flags.command {
        None => return Ok(Command::Serve(flags.asked)),
        Some(Group::Publish(publish)) => return Ok(Command::Publish(publish, flags.asked.address)),
        Some(Group::OciHook { command }) => return Ok(Command::Hook(command)),
        Some(Group::Config { command: ConfigCommand::Default(form) }) => {
            (Document::default(), form)
        }
        Some(Group::Config {
            command: ConfigCommand::Dump(form) | ConfigCommand::Migrate(form),
        }) => {
            // As in containerd, no file at all is the default configuration.
            match Document::load(flags.asked.file()) {
                Err(error) if error.is_not_found() => (Document::default(), form),
                read => (read?, form),
            }
        }
    };
    for note in document.notes() {
        print_note(note);
    }
    Ok(Command::Print(document.print(form.to.unwrap_or(document.version()))?))
}

impl Asked {
    fn file(&self) -> &std::path::Path {
        self.config.as_deref().unwrap_or(Config::DEFAULT_FILE.as_ref())
    }

    /// Puts the flags over the file over the defaults.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        let mut document = match Document::load(self.file()) {
            Err(error) if error.is_not_found() && self.config.is_none() => Document::default(),
            read => read?,
        };
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let failed = |error: std::io::Error| Error::io("find the working folder", &error);
        document.override_folders(
            absolute(&self.root).map_err(failed)?.as_deref(),
            absolute(&self.state).map_err(failed)?.as_deref(),
            self.address.as_deref(),
        );
        let (config, notes) = document.resolve()?;
        let level = self.log_level.as_ref().unwrap_or(&config.logging.level).parse()?;
        Ok(Resolved { document, config, level, notes })
    }
}

/// Prints to standard output. A reader that has gone away does not care.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints what the one who asked should know.
fn print_note(note: &str) {
    let _ = writeln!(std::io::stderr(), "note: {note}");
}

/// Prints why the program ends.
pub(crate) fn print_error(error: &Error) {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "stowd: {error}");
    if let Some(hint) = error.hint_text() {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}
