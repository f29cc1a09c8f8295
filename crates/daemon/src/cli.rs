//! The daemon's command line: containerd's.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use stowd::config::file::File;
use stowd::{Config, Level};
use stowd_core::{Error, Result};

/// What is to be done.
pub(crate) enum Command {
    /// Print this and end.
    Print(String),
    /// Run the daemon.
    Serve(Asked),
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
    pub(crate) config: Config,
    pub(crate) level: Level,
    pub(crate) format: String,
    pub(crate) warnings: Vec<String>,
}

/// A container runtime daemon that takes containerd's place
#[derive(Debug, Parser)]
#[command(name = "stowd", disable_version_flag = true, args_conflicts_with_subcommands = true)]
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
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the default configuration
    Default,
}

/// Reads the command line; ends the process when it is wrong or asks for help.
pub(crate) fn parse() -> Command {
    let flags = Flags::parse();
    if flags.version {
        // Four words, as scripts split them.
        return Command::Print(format!(
            "containerd github.com/stowd/stowd {} {}\n",
            stowd::VERSION,
            stowd::REVISION
        ));
    }
    match flags.command {
        Some(Group::Config { command: ConfigCommand::Default }) => {
            Command::Print(stowd::config::file::default_text())
        }
        None => Command::Serve(flags.asked),
    }
}

impl Asked {
    /// Puts the flags over the file over the defaults.
    pub(crate) fn resolve(self) -> Result<Resolved> {
        let mut file = match &self.config {
            Some(path) => File::read(path)?,
            None => match File::read(Config::DEFAULT_FILE.as_ref()) {
                Err(error) if error.is_not_found() => File::parse("version = 3")?,
                read => read?,
            },
        };
        file.override_folders(self.root, self.state, self.address);
        let (config, warnings) = file.apply()?;
        let logging = file.logging();
        let level = self.log_level.unwrap_or(logging.level).parse()?;
        Ok(Resolved { config, level, format: logging.format, warnings })
    }
}

/// Prints to standard output. A reader that has gone away does not care.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints why the program ends.
pub(crate) fn print_error(error: &Error) {
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "stowd: {error}");
    if let Some(hint) = error.hint_text() {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}
