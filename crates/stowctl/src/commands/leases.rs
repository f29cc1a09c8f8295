//! `leases`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde::Serialize;
use stowd_client::Client;
use stowd_core::error::ResultExt as _;
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::labels::GC_EXPIRE;
use stowd_core::leases::{Lease, Store as _};
use stowd_core::{Error, Labels, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::{Format, Row};
use crate::table::Layout;
use crate::{labels, times, units};

/// Manage leases
#[derive(Debug, Subcommand)]
pub(crate) enum Leases {
    /// List all leases
    #[command(visible_alias = "ls")]
    List {
        /// Print only the leases' ids
        #[arg(short, long)]
        quiet: bool,
        /// Only leases that pass one of these, such as id==ID or labels.KEY==VALUE
        #[arg(value_name = "FILTER")]
        filters: Vec<String>,
    },
    /// Create a lease and print its id
    Create {
        /// The lease's id; without it, one is made up
        #[arg(long)]
        id: Option<String>,
        /// How long the lease counts, such as 30m; 0 means until it is deleted
        #[arg(short = 'x', long, value_parser = units::parse_duration, default_value = "24h")]
        expires: Duration,
        /// Labels, as KEY=VALUE
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Delete leases
    #[command(visible_aliases = ["del", "remove", "rm"])]
    Delete {
        /// Return only when all that the leases alone held is gone
        #[arg(long)]
        sync: bool,
        /// The leases' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    created: String,
    labels: Labels,
    #[serde(skip)]
    local: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["ID", "CREATED AT", "LABELS"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.local.clone(), labels::cell(&self.labels)]
    }
}

impl From<Lease> for Line {
    fn from(lease: Lease) -> Self {
        Self {
            id: lease.id,
            created: times::json(lease.created),
            local: times::local(lease.created),
            labels: lease.labels,
        }
    }
}

impl Leases {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::List { quiet, filters } => {
                let filters = Filters::parse(&filters)?;
                let client = at.client().await?;
                let leases = client.connection().leases();
                let found = leases.list(client.scope(), &filters).await;
                let found = found.context(|| "failed to list leases")?;
                if quiet {
                    for lease in found {
                        at.printer.line(lease.id)?;
                    }
                    return Ok(());
                }
                let lines: Vec<Line> = found.into_iter().map(Line::from).collect();
                Ok(at.printer.rows(Layout::NARROW, &lines)?)
            }
            Self::Create { id, expires, labels } => {
                let labels = labels::parse_plain(&labels)?;
                let client = at.client().await?;
                let lease = create(&client, id, expires, labels).await?;
                match at.printer.format() {
                    Format::Json => at.printer.json(&Line::from(lease))?,
                    Format::Text => at.printer.line(lease.id)?,
                }
                Ok(())
            }
            Self::Delete { sync, ids } => {
                let client = at.client().await?;
                let last = ids.len().saturating_sub(1);
                for (number, id) in ids.iter().enumerate() {
                    // One collection, after the last, serves for all of them.
                    let collect = match sync && number == last {
                        true => Collect::BeforeReturn,
                        false => Collect::Later,
                    };
                    client.connection().leases().delete(client.scope(), id, collect).await?;
                    at.printer.line(id)?;
                }
                Ok(())
            }
        }
    }
}

async fn create(
    client: &Client,
    id: Option<String>,
    expires: Duration,
    mut labels: Labels,
) -> Result<Lease> {
    if !expires.is_zero() {
        labels.insert(GC_EXPIRE.to_owned(), times::after(expires));
    }
    let id = match id.filter(|id| !id.is_empty()) {
        Some(id) => id,
        None => random_id()?,
    };
    client.connection().leases().create(client.scope(), &id, labels).await
}

/// The time and some chance, so that leases made in a row stand in a row.
fn random_id() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut chance = [0_u8; 4];
    rustix::rand::getrandom(&mut chance, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("make up a name", &error.into()))?;
    Ok(format!("{now}-{:08x}", u32::from_ne_bytes(chance)))
}
