//! `containers`.

pub(crate) mod info;

use clap::Subcommand;
use serde::Serialize;
use stowd_client::{Client, Container};
use stowd_core::filters::Filters;
use stowd_core::tasks::Status;
use stowd_core::{Error, Result};

use super::run::{ContainerFlags, CtrWords, Placement};
use crate::arguments::{Label, removals_and_labels, words_of_labels};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;

#[derive(Debug, Subcommand)]
pub(crate) enum Containers {
    /// Create a container
    #[command(override_usage = "containers create [OPTIONS] IMAGE|ROOTFS ID [COMMAND] [ARG]...")]
    Create {
        #[command(flatten)]
        flags: Box<ContainerFlags>,
        /// The image (or with --rootfs a folder, with --config nothing), the id, command, arguments
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "IMAGE ID COMMAND"
        )]
        words: Vec<String>,
    },
    /// List containers
    #[command(visible_alias = "ls")]
    List {
        /// Print only the containers' ids
        #[arg(short, long)]
        quiet: bool,
        /// Filters of which one must hold, such as labels.app==web
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Delete one or more containers that do not run
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete {
        /// Keep the containers' snapshots
        #[arg(long)]
        keep_snapshot: bool,
        /// The containers' ids
        #[arg(value_name = "CONTAINER")]
        ids: Vec<String>,
    },
    /// Set labels of a container; one without a value is cleared
    Label {
        /// The container's id
        #[arg(value_name = "CONTAINER")]
        id: String,
        /// Labels, as KEY=VALUE
        labels: Vec<Label>,
    },
    /// Show all that is known of a container
    Info {
        /// Show only the spec
        #[arg(long)]
        spec: bool,
        /// The container's id
        #[arg(value_name = "CONTAINER")]
        id: String,
    },
}

#[derive(Serialize)]
struct Line {
    container: String,
    image: String,
    runtime: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["CONTAINER", "IMAGE", "RUNTIME"];

    fn cells(&self) -> Vec<String> {
        let image = if self.image.is_empty() { "-" } else { &self.image };
        vec![self.container.clone(), image.to_owned(), self.runtime.clone()]
    }
}

impl Containers {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Create { flags, words } => create(at, *flags, words).await,
            Self::List { quiet, filters } => {
                let filters = Filters::parse(&filters)?;
                let found = at.client().await?.containers(&filters).await?;
                if quiet {
                    for container in found {
                        at.printer.line(container.id())?;
                    }
                    return Ok(());
                }
                let lines: Vec<Line> = found.iter().map(line).collect();
                Ok(at.printer.rows(Layout::WIDE, &lines)?)
            }
            Self::Delete { keep_snapshot, ids } => {
                let snapshot = if keep_snapshot { Snapshot::Kept } else { Snapshot::Deleted };
                delete_all(at, ids, snapshot).await
            }
            Self::Label { id, labels } => {
                let mut container = at.client().await?.container(&id).await?;
                let labels = container.set_labels(removals_and_labels(labels)).await?;
                Ok(at.printer.line(words_of_labels(labels))?)
            }
            Self::Info { spec, id } => {
                let container = at.client().await?.container(&id).await?;
                let text = if spec {
                    container.spec()?.to_pretty_json()
                } else {
                    info::to_json(&container)?
                };
                Ok(at.printer.line(text)?)
            }
        }
    }
}

fn line(container: &Container) -> Line {
    let record = container.record();
    Line {
        container: record.id.clone(),
        image: record.image.clone(),
        runtime: record.runtime.name.clone(),
    }
}

async fn create(at: &Context, flags: ContainerFlags, words: Vec<String>) -> Outcome {
    let words = CtrWords::of(words, &flags)?;
    let flags = flags.with_ctr_defaults();
    let begun = words.begin(at, &flags, &Placement::default()).await?;
    begun.leftovers.remove().await;
    begun.asked.go_on()
}

/// What happens to a deleted container's snapshot.
#[derive(Clone, Copy)]
enum Snapshot {
    Kept,
    Deleted,
}

async fn delete_all(at: &Context, ids: Vec<String>, snapshot: Snapshot) -> Outcome {
    if ids.is_empty() {
        return Err(Error::invalid("must specify at least one container to delete").into());
    }
    let client = at.client().await?;
    // Those that can be deleted are; the first failure is what the command ends with.
    let mut failed = None;
    for id in ids {
        if let Err(error) = delete(&client, &id, snapshot).await {
            match &failed {
                None => failed = Some(error),
                Some(_) => {
                    at.printer.note(format_args!("failed to delete container {id:?}: {error}"))
                }
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn delete(client: &Client, id: &str, snapshot: Snapshot) -> Result<()> {
    let container = client.container(id).await?;
    match container.task().await {
        Ok(task) => match task.status().await? {
            Status::Stopped | Status::Created => {
                task.delete().await?;
            }
            status => {
                let status = super::tasks::word(status).to_lowercase();
                return Err(Error::unknown(format_args!(
                    "cannot delete a non stopped container: {status}"
                ))
                .hint(format_args!("end its task first: tasks rm --force {id}")));
            }
        },
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    match snapshot {
        Snapshot::Kept => container.delete().await,
        Snapshot::Deleted => container.remove().await,
    }
}
