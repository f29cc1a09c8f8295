//! `images delete` and `images prune`.

use std::collections::HashSet;

use stowd_client::Client;
use stowd_core::Result;
use stowd_core::containers::Store as _;
use stowd_core::filters::Filters;
use stowd_core::images::{self, Collect, Store as _};

use crate::context::Context;
use crate::failure::{Outcome, Worst};

/// Arguments of `images delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// Return only when all that the images alone held is gone
    #[arg(long)]
    sync: bool,
    /// The images' names
    #[arg(required = true, value_name = "REF")]
    names: Vec<String>,
}

/// Arguments of `images prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Remove all images that no container uses; without it nothing is removed
    #[arg(long)]
    all: bool,
}

impl Delete {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let mut worst = Worst::default();
        let last = self.names.len().saturating_sub(1);
        for (number, name) in self.names.iter().enumerate() {
            // One collection, after the last, serves for all of them.
            let collect = match self.sync && number == last {
                true => Collect::BeforeReturn,
                false => Collect::Later,
            };
            match delete(&client, name, collect).await {
                Ok(()) => at.printer.line(name)?,
                // That it is gone is what was asked for.
                Err(error) if error.is_not_found() => {
                    at.printer.note(format_args!("{name}: image not found"));
                }
                Err(error) => {
                    let error = error.context(format_args!("unable to delete {name}"));
                    worst.add(&at.printer, error);
                }
            }
        }
        worst.into()
    }
}

impl Prune {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        if !self.all {
            at.printer.note("no images pruned: say --all to remove all that no container uses");
            return Ok(());
        }
        let client = at.client().await?;
        let (connection, scope) = (client.connection(), client.scope());
        let used = connection.containers().list(scope, &Filters::default()).await?;
        let used: HashSet<String> = used.into_iter().map(|container| container.image).collect();
        let images = connection.images().list(scope, &Filters::default()).await?;
        let unused: Vec<String> = images
            .into_iter()
            .map(|image| image.name)
            .filter(|name| !used.contains(name))
            .collect();
        let mut worst = Worst::default();
        for (number, name) in unused.iter().enumerate() {
            let collect = match number + 1 == unused.len() {
                true => Collect::BeforeReturn,
                false => Collect::Later,
            };
            match delete(&client, name, collect).await {
                Ok(()) => at.printer.note(format_args!("deleted image: {name}")),
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    let error = error.context(format_args!("failed to delete image {name}"));
                    worst.add(&at.printer, error);
                }
            }
        }
        worst.into()
    }
}

async fn delete(client: &Client, name: &str, collect: Collect) -> Result<()> {
    let delete = images::Delete { collect, target: None };
    client.connection().images().delete(client.scope(), name, delete).await
}
