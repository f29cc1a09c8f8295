//! `namespaces`.

use clap::Subcommand;
use serde::Serialize;
use stowd_core::namespaces::Store as _;
use stowd_core::{Error, Labels, Namespace};

use crate::arguments::{Label, removals_and_labels, words_of_labels};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;

#[derive(Debug, Subcommand)]
pub(crate) enum Namespaces {
    /// Create a new namespace
    #[command(visible_alias = "c")]
    Create {
        /// The namespace's name
        name: String,
        /// Labels, as KEY=VALUE
        labels: Vec<Label>,
    },
    /// Set labels of a namespace; one without a value is cleared
    Label {
        /// The namespace's name
        name: String,
        /// Labels, as KEY=VALUE
        #[arg(required = true)]
        labels: Vec<Label>,
    },
    /// List namespaces
    #[command(visible_alias = "ls")]
    List {
        /// Print only the namespaces' names
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove one or more namespaces, which must be empty
    #[command(visible_alias = "rm")]
    Remove {
        /// The namespaces' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Delete the namespace's cgroup, too
        #[arg(short, long)]
        cgroup: bool,
    },
}

#[derive(Serialize)]
struct Line {
    name: String,
    labels: Labels,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["NAME", "LABELS"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), words_of_labels(&self.labels)]
    }
}

impl Namespaces {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let store = client.connection().namespaces();
        match self {
            Self::Create { name, labels } => {
                store.create(&Namespace::new(name)?, removals_and_labels(labels)).await?;
            }
            Self::Label { name, labels } => {
                let labels = removals_and_labels(labels);
                let paths: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
                store.update(&Namespace::new(name)?, labels, &paths).await?;
            }
            Self::List { quiet } => {
                let found = store.list().await?;
                if quiet {
                    for (name, _) in found {
                        at.printer.line(name.as_str())?;
                    }
                    return Ok(());
                }
                let line = |(name, labels): (Namespace, Labels)| Line {
                    name: name.as_str().to_owned(),
                    labels,
                };
                let lines: Vec<Line> = found.into_iter().map(line).collect();
                at.printer.rows(Layout::NARROW, &lines)?;
            }
            Self::Remove { names, cgroup } => {
                if cgroup {
                    return Err(Error::not_implemented("namespaces remove --cgroup").into());
                }
                remove(at, &store, names).await?;
            }
        }
        Ok(())
    }
}

async fn remove(
    at: &Context,
    store: &impl stowd_core::namespaces::Store,
    names: Vec<String>,
) -> Outcome {
    // Those that can be removed are; the first failure is what the command ends with.
    let mut failed = None;
    for name in names {
        let removed = match Namespace::new(name.as_str()) {
            Ok(namespace) => store.delete(&namespace).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => at.printer.line(&name)?,
            Err(error) => {
                let error = error.context(format_args!("unable to delete {name}"));
                if let Some(previous) = failed.replace(error) {
                    at.printer.note(format_args!("{previous}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
