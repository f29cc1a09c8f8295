//! `tasks start` and `tasks attach`.

use std::path::PathBuf;

use stowd_client::TaskOptions;

use super::One;
use crate::attached::{Side, outcome};
use crate::commands::run::{Launch, Leftovers, OutputFlags};
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::Signals;
use crate::terminal::{self, Choice, Raw};

/// Start a container that has been created
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Do not use pivot_root
    #[arg(long)]
    no_pivot: bool,
    #[command(flatten)]
    output: OutputFlags,
    /// File to write the task's pid to
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// Leave the task once it has started
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    one: One,
}

impl Start {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        let id = self.one.id()?;
        let mut signals = Signals::catch()?;
        let client = at.client().await?;
        let container = client.container(id).await?;
        let spec = container.spec()?;
        let mut choice = self.output.choice();
        choice.terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        choice.connected = !self.detach;
        let linux = spec.linux.unwrap_or_default();
        let owner = match (linux.uid_mappings.first(), linux.gid_mappings.first()) {
            (Some(uid), Some(gid)) => Some((uid.host_id, gid.host_id)),
            _ => None,
        };
        let options = TaskOptions { no_pivot_root: self.no_pivot, io_owner: owner };
        let mut leftovers = Leftovers::new(at, &client, id);
        let pid_file = self.pid_file.as_deref();
        let launch = Launch { at, signals: &mut signals, choice, options, pid_file };
        let done = launch.go(&container, &mut leftovers).await;
        if self.detach && done.is_ok() {
            leftovers.keep();
        } else {
            leftovers.remove().await;
        }
        done?.as_ref().map_or(Ok(()), outcome)
    }
}

/// Stays with a running task until it ends, and deletes it then.
pub(super) async fn attach(at: &Context, id: &str) -> Outcome {
    let mut signals = Signals::catch()?;
    let container = at.client().await?.container(id).await?;
    let terminal = container.spec()?.process.is_some_and(|process| process.terminal);
    let (streams, broken) = terminal::streams();
    let task = container.attach(streams).await?;
    let raw = if terminal { Some(Raw::enter()?) } else { None };
    let choice = Choice { terminal, ..Choice::default() };
    let mut side = Side::new(&at.printer, &mut signals, broken).on(&choice);
    let exit = side.stay(&task).await?;
    drop(raw);
    match task.delete().await {
        // Whoever has started it may have been quicker.
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => outcome(&exit),
    }
}
