//! `tasks exec`.

use stowd_client::{Container, Process};
use stowd_core::tasks::Exit;
use stowd_core::{Error, Result};

use crate::attached::{Side, outcome};
use crate::commands::run::OutputFlags;
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::Signals;
use crate::terminal::Raw;

/// Execute additional processes in an existing container
#[derive(Debug, clap::Args)]
#[command(override_usage = "tasks exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct Exec {
    /// Working directory of the new process
    #[arg(long, value_name = "PATH")]
    cwd: Option<String>,
    /// Allocate a terminal for the process
    #[arg(short, long)]
    tty: bool,
    /// Leave the process once it has started
    #[arg(short, long)]
    detach: bool,
    /// Id of the process; one is made up unless given
    #[arg(long, value_name = "ID")]
    exec_id: Option<String>,
    /// Further environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User and perhaps group: NAME|UID[:GROUP|GID]
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    output: OutputFlags,
    /// The container's id, command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONTAINER COMMAND")]
    words: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        let mut words = self.words.clone().into_iter();
        let id = words.next().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Error::unknown("container id must be provided"))?;
        let args: Vec<String> = words.collect();
        let mut signals = Signals::catch()?;
        let container = at.client().await?.container(&id).await?;
        let process = self.process(&container, args).await?;
        let task = container.task().await?;
        let exec_id = match &self.exec_id {
            Some(exec_id) => exec_id.clone(),
            None => made_up()?,
        };
        let mut choice = self.output.choice();
        choice.terminal = self.tty;
        choice.connected = !self.detach;
        let raw = if self.tty && !self.detach { Some(Raw::enter()?) } else { None };
        let (io, broken) = choice.io()?;
        let (made, asked) = signals.through(task.exec(&exec_id, &process, io)).await?;
        let printer = &at.printer;
        let mut side = Side::new(printer, &mut signals, broken).on(&choice);
        let done: Outcome<Option<Exit>> = async {
            asked.go_on()?;
            if self.detach {
                made.start().await?;
                return Ok(None);
            }
            side.start(&made).await.map(Some)
        }
        .await;
        drop(raw);
        if let Ok(None) = done {
            return Ok(());
        }
        self.clean_up(at, &made).await;
        done?.as_ref().map_or(Ok(()), outcome)
    }

    async fn process(
        &self,
        container: &Container,
        args: Vec<String>,
    ) -> Result<stowd_client::spec::Process> {
        let mut spec = container.spec()?;
        if let Some(user) = &self.user {
            container.set_user(&mut spec, user).await?;
        }
        spec.set_args(args);
        spec.add_env(&self.env);
        if let Some(cwd) = &self.cwd {
            spec.set_cwd(cwd.clone());
        }
        let mut process = spec.process.unwrap_or_default();
        process.terminal = self.tty;
        Ok(process)
    }

    async fn clean_up(&self, at: &Context, process: &Process) {
        match process.kill_and_delete().await {
            Err(error) if !error.is_not_found() => {
                at.printer.note(format_args!("failed to cleanup process: {error}"));
            }
            _ => {}
        }
    }
}

fn made_up() -> Result<String> {
    let mut random = [0_u8; 4];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::io("get random bytes", &errno.into()))?;
    Ok(format!("exec-{:08x}", u32::from_ne_bytes(random)))
}
