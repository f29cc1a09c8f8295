//! The grammars of the command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::{CtrCommand, StowctlCommand, Stress};
use crate::context::Context;
use crate::failure::Outcome;
use crate::units;

/// Which of the program's grammars applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// `stowctl`'s.
    Stowctl,
    /// `ctr`'s.
    Ctr,
    /// `containerd-stress`'s, which is one command of `stowctl`.
    Stress,
}

/// What is said before the command and counts for all of them.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// Address of the daemon's gRPC socket
    // Only before the command, as in ctr: commands have other uses for `-a` and `-n`.
    #[arg(
        short,
        long,
        env = "CONTAINERD_ADDRESS",
        default_value = ADDRESS,
        value_name = "SOCKET",
        hide_env_values = true
    )]
    pub(crate) address: PathBuf,
    /// Namespace to use with commands
    #[arg(
        short,
        long,
        env = "CONTAINERD_NAMESPACE",
        default_value = "default",
        hide_env_values = true
    )]
    pub(crate) namespace: String,
    /// Total time for the command, such as 30s; 0 means no limit
    #[arg(long, value_parser = units::parse_duration, default_value = "0s")]
    pub(crate) timeout: Duration,
    /// Time for connecting with the daemon; 0 means no limit
    #[arg(long, value_parser = units::parse_duration, default_value = "0s")]
    pub(crate) connect_timeout: Duration,
    /// Say more on standard error
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A container engine's command line, with ctr's commands and some that people miss in it
#[derive(Debug, Parser)]
// A flag given again replaces itself, as ctr has it.
#[command(name = "stowctl", version = VERSION, args_override_self = true)]
struct Stowctl {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: StowctlCommand,
}

/// stowctl under the name and with the grammar of ctr
#[derive(Debug, Parser)]
#[command(
    name = "ctr",
    version = CTR_VERSION,
    disable_version_flag = true,
    args_override_self = true
)]
struct Ctr {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: CtrCommand,
    /// Print the version
    // ctr has no `-V`, but `-v`.
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// Stress test a containerd daemon, as stowctl stress does
#[derive(Debug, Parser)]
#[command(name = "containerd-stress", version = VERSION, args_override_self = true)]
struct ContainerdStress {
    /// Say more on standard error
    #[arg(long, global = true)]
    debug: bool,
    /// Print the results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    stress: Stress,
}

/// What clap says of a command line that ends before it has named a command.
const LACKS_COMMAND: [ErrorKind; 2] =
    [ErrorKind::MissingSubcommand, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
/// Where containerd listens.
const ADDRESS: &str = "/run/containerd/containerd.sock";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As scripts split it: name, word, version.
const CTR_VERSION: &str = concat!("github.com/stowd/stowd ", env!("CARGO_PKG_VERSION"));

/// A command of either grammar.
pub(crate) enum Command {
    Stowctl(StowctlCommand),
    Ctr(CtrCommand),
    Stress(Box<Stress>),
}

impl Grammar {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stowctl, Self::Ctr, Self::Stress];

    /// Tells the grammar from the name that the program was started by.
    pub fn of(program: Option<&OsString>) -> Self {
        match program.and_then(|program| Path::new(program).file_name()) {
            Some(name) if name == OsStr::new("ctr") => Self::Ctr,
            Some(name) if name == OsStr::new("containerd-stress") => Self::Stress,
            _ => Self::Stowctl,
        }
    }

    /// Returns the name that messages begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stowctl => "stowctl",
            Self::Ctr => "ctr",
            Self::Stress => "containerd-stress",
        }
    }
}

/// Returns the definition of all commands and flags, for completions and manuals.
pub fn command(grammar: Grammar) -> clap::Command {
    match grammar {
        Grammar::Stowctl => Stowctl::command(),
        Grammar::Ctr => Ctr::command(),
        Grammar::Stress => ContainerdStress::command(),
    }
}

/// Reads the command line.
pub(crate) fn parse(
    grammar: Grammar,
    mut arguments: Vec<OsString>,
) -> Result<(Global, Command), clap::Error> {
    let matches = match command(grammar).try_get_matches_from(&arguments) {
        // A group alone is a question for its commands.
        Err(error) if LACKS_COMMAND.contains(&error.kind()) => {
            arguments.push("--help".into());
            command(grammar).try_get_matches_from(arguments)?
        }
        read => read?,
    };
    Ok(match grammar {
        Grammar::Stowctl => {
            let parsed = Stowctl::from_arg_matches(&matches)?;
            (parsed.global, Command::Stowctl(parsed.command))
        }
        Grammar::Ctr => {
            let parsed = Ctr::from_arg_matches(&matches)?;
            (parsed.global, Command::Ctr(parsed.command))
        }
        Grammar::Stress => {
            let ContainerdStress { debug, json, stress } =
                ContainerdStress::from_arg_matches(&matches)?;
            let global = Global {
                address: ADDRESS.into(),
                namespace: String::from("default"),
                timeout: Duration::ZERO,
                connect_timeout: Duration::ZERO,
                debug,
                json,
            };
            (global, Command::Stress(Box::new(stress)))
        }
    })
}

impl Command {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Stowctl(command) => command.run(at).await,
            Self::Ctr(command) => command.run(at).await,
            Self::Stress(command) => command.run(at).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_sound() {
        for grammar in Grammar::ALL {
            command(grammar).debug_assert();
        }
    }

    #[test]
    fn the_name_tells_the_grammar() {
        let of = |name: &str| Grammar::of(Some(&OsString::from(name)));
        assert_eq!(of("/usr/bin/ctr"), Grammar::Ctr);
        assert_eq!(of("stowctl"), Grammar::Stowctl);
        assert_eq!(of("./containerd-stress"), Grammar::Stress);
        assert_eq!(Grammar::of(None), Grammar::Stowctl);
    }
}
