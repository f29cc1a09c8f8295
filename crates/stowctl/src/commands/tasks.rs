//! `tasks`.

mod exec;
mod metrics;
mod run;

use clap::Subcommand;
use serde::Serialize;
use stowd_client::{Task, metrics::exec_id_of};
use stowd_core::filters::Filters;
use stowd_core::tasks::{ProcessInfo, Status, Tasks as _};
use stowd_core::{Error, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::signals;
use crate::table::{Last, Layout};

#[derive(Debug, Subcommand)]
pub(crate) enum Tasks {
    /// Attach to the streams of a running container
    Attach(One),
    /// Delete one or more tasks
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete {
        /// Kill the task's processes first
        #[arg(short, long)]
        force: bool,
        /// Delete only this exec process
        #[arg(long, value_name = "ID")]
        exec_id: Option<String>,
        /// The containers' ids
        #[arg(value_name = "CONTAINER", required = true)]
        ids: Vec<String>,
    },
    Exec(exec::Exec),
    /// Send a signal to a container (default: the image's stop signal, or SIGTERM)
    Kill {
        /// The signal, by name or number
        #[arg(short, long)]
        signal: Option<String>,
        /// Send it to this exec process
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        exec_id: String,
        /// Send it to all processes of the container
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        one: One,
    },
    /// List tasks
    #[command(visible_alias = "ls")]
    List {
        /// Print only the tasks' ids
        #[arg(short, long)]
        quiet: bool,
    },
    Metrics(metrics::Metrics),
    /// Freeze a container's processes
    Pause(One),
    /// List the processes of a container
    Ps(One),
    /// Thaw a container's processes
    Resume(One),
    Start(run::Start),
}

/// A container.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: Option<String>,
}

impl One {
    fn id(&self) -> Result<&str> {
        let id = self.id.as_deref().filter(|id| !id.is_empty());
        id.ok_or_else(|| Error::unknown("container id must be provided"))
    }

    async fn task(&self, at: &Context) -> Result<Task> {
        at.client().await?.container(self.id()?).await?.task().await
    }
}

#[derive(Serialize)]
struct Line {
    task: String,
    pid: u32,
    status: &'static str,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["TASK", "PID", "STATUS"];

    fn cells(&self) -> Vec<String> {
        vec![self.task.clone(), self.pid.to_string(), self.status.to_owned()]
    }
}

#[derive(Serialize)]
struct ProcessLine {
    pid: u32,
    exec_id: Option<String>,
}

impl Row for ProcessLine {
    const COLUMNS: &'static [&'static str] = &["PID", "INFO"];

    fn cells(&self) -> Vec<String> {
        // As Go prints the message that tells.
        let info = self.exec_id.as_ref().map_or("-".into(), |id| format!("exec_id:{id:?}"));
        vec![self.pid.to_string(), info]
    }
}

impl Tasks {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Attach(one) => run::attach(at, one.id()?).await,
            Self::Delete { force, exec_id, ids } => {
                let how = if force { How::Forced } else { How::Ended };
                match exec_id {
                    Some(exec_id) => delete_exec(at, &ids[0], &exec_id, how).await,
                    None => delete_all(at, ids, how).await,
                }
            }
            Self::Exec(exec) => exec.run(at).await,
            Self::Kill { signal, exec_id, all, one } => {
                if all && !exec_id.is_empty() {
                    return Err(Error::unknown("specify an exec-id or all; not both").into());
                }
                let container = at.client().await?.container(one.id()?).await?;
                let signal = match signal.as_deref().or(container.stop_signal()) {
                    Some(signal) => signals::parse(signal)?,
                    None => signals::SIGTERM,
                };
                if all {
                    return Ok(container.task().await?.kill_all(signal).await?);
                }
                Ok(container.process(&exec_id).await?.kill(signal).await?)
            }
            Self::List { quiet } => list(at, quiet_or_table(quiet)).await,
            Self::Metrics(metrics) => metrics.run(at).await,
            Self::Pause(one) => Ok(one.task(at).await?.pause().await?),
            Self::Ps(one) => {
                let found = one.task(at).await?.pids().await?;
                let lines: Vec<ProcessLine> = found.iter().map(process_line).collect();
                let layout = Layout { least: 1, ..Layout::WIDE }.ragged();
                Ok(at.printer.rows(layout, &lines)?)
            }
            Self::Resume(one) => Ok(one.task(at).await?.resume().await?),
            Self::Start(start) => start.run(at).await,
        }
    }
}

/// What a list shows.
enum Shown {
    Ids,
    Table,
}

fn quiet_or_table(quiet: bool) -> Shown {
    if quiet { Shown::Ids } else { Shown::Table }
}

async fn list(at: &Context, shown: Shown) -> Outcome {
    let client = at.client().await?;
    let found = client.connection().tasks().list(client.scope(), &Filters::default()).await?;
    if matches!(shown, Shown::Ids) {
        for task in found {
            at.printer.line(task.container_id)?;
        }
        return Ok(());
    }
    let lines: Vec<Line> = found
        .into_iter()
        .map(|task| Line { task: task.container_id, pid: task.pid, status: word(task.status) })
        .collect();
    Ok(at.printer.rows(Layout { last: Last::FilledHead, ..Layout::WIDE }, &lines)?)
}

/// The API's word for a status.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Unknown => "UNKNOWN",
        Status::Created => "CREATED",
        Status::Running => "RUNNING",
        Status::Stopped => "STOPPED",
        Status::Paused => "PAUSED",
        Status::Pausing => "PAUSING",
    }
}

fn process_line(info: &ProcessInfo) -> ProcessLine {
    ProcessLine { pid: info.pid, exec_id: exec_id_of(info) }
}

/// How a process is deleted.
#[derive(Clone, Copy)]
enum How {
    /// If it has ended.
    Ended,
    /// Killed first.
    Forced,
}

async fn delete_exec(at: &Context, id: &str, exec_id: &str, how: How) -> Outcome {
    let container = at.client().await?.container(id).await?;
    let process = container.process(exec_id).await?;
    let exit = match how {
        How::Ended => process.delete().await?,
        How::Forced => process.kill_and_delete().await?,
    };
    crate::attached::outcome(&exit)
}

async fn delete_all(at: &Context, ids: Vec<String>, how: How) -> Outcome {
    let client = at.client().await?;
    // Those that can be deleted are; the first failure is what the command ends with.
    let mut failed = None;
    for id in ids {
        let deleted = async {
            let task = client.container(&id).await?.task().await?;
            match how {
                How::Ended => task.delete().await,
                How::Forced => task.kill_and_delete().await,
            }
        };
        match deleted.await {
            Ok(exit) if exit.status != 0 => {
                let status = exit.status;
                at.printer.note(format_args!("task {id} exit with non-zero exit code {status}"));
            }
            Ok(_) => {}
            Err(error) if failed.is_none() => failed = Some(error),
            Err(error) => at.printer.note(format_args!("unable to delete {id}: {error}")),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
