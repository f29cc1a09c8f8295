//! `completion`.

use clap_complete::Shell;

use crate::cli;
use crate::context::Context;
use crate::failure::Outcome;

/// Prints what a shell needs to complete commands and flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Which,
}

/// The shells that can be completed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// source <(stowctl completion bash)
    Bash,
    /// stowctl completion zsh > "${fpath[1]}/_stowctl"
    Zsh,
    /// stowctl completion fish > ~/.config/fish/completions/stowctl.fish
    Fish,
}

impl Completion {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let shell = match self.shell {
            Which::Bash => Shell::Bash,
            Which::Zsh => Shell::Zsh,
            Which::Fish => Shell::Fish,
        };
        let grammar = at.grammar();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(grammar), grammar.name(), &mut script);
        Ok(at.printer.bytes(&script)?)
    }
}
