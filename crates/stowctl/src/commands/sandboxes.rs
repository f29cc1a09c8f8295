//! `sandboxes`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde::Serialize;
use stowd_client::Client;
use stowd_client::spec::Spec;
use stowd_core::containers::Runtime;
use stowd_core::error::ResultExt as _;
use stowd_core::filters::Filters;
use stowd_core::labels::DEFAULT_SANDBOXER;
use stowd_core::namespaces::Store as _;
use stowd_core::sandboxes::{Controller as _, Create, Sandbox, Store as _};
use stowd_core::{Any, Error, Labels, Result};

use super::containers::info::{Packed, packed};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Row;
use crate::table::Layout;
use crate::times;

/// The controller of sandboxes in namespaces whose labels name none.
const SANDBOXER: &str = "shim";

/// The type of runtime options that say nothing, as ctr sends them.
const NO_OPTIONS: &str = "google.protobuf.Empty";

/// The type of an OCI runtime spec.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Manage sandboxes
#[derive(Debug, Subcommand)]
pub(crate) enum Sandboxes {
    /// Create and start a sandbox, with a runtime that keeps sandboxes
    #[command(visible_aliases = ["create", "c", "r"])]
    Run {
        /// The runtime
        #[arg(long, default_value = "io.containerd.runc.v2")]
        runtime: String,
        /// A file with the sandbox's OCI runtime spec
        #[arg(value_name = "POD-CONFIG.JSON")]
        config: PathBuf,
        /// The sandbox's id
        #[arg(value_name = "SANDBOX-ID")]
        id: String,
    },
    /// List sandboxes
    #[command(visible_alias = "ls")]
    List {
        /// Only sandboxes that pass one of these, such as id==ID or labels.KEY==VALUE
        #[arg(long, value_name = "FILTER", value_delimiter = ',')]
        filters: Vec<String>,
    },
    /// Stop sandboxes and remove them with all that is in them
    #[command(visible_alias = "rm")]
    Remove {
        /// Also those that do not stop
        #[arg(short, long)]
        force: bool,
        /// The sandboxes' ids
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
    /// Show all that is known of a sandbox, as JSON
    #[command(visible_alias = "i")]
    Info {
        /// The sandbox's id
        #[arg(value_name = "SANDBOX-ID")]
        id: String,
    },
}

#[derive(Serialize)]
struct Line {
    id: String,
    created: String,
    runtime: String,
    #[serde(skip)]
    shown: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["ID", "CREATED", "RUNTIME"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.shown.clone(), self.runtime.clone()]
    }
}

/// A record as Go's encoder writes it, which scripts read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    labels: Option<&'a Labels>,
    runtime: RecordRuntime<'a>,
    spec: Option<Packed<'a>>,
    sandboxer: &'a str,
    created_at: String,
    updated_at: String,
    extensions: BTreeMap<&'a str, Packed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordRuntime<'a> {
    name: &'a str,
    options: Option<Packed<'a>>,
}

impl Sandboxes {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        match self {
            Self::Run { runtime, config, id } => {
                let json = std::fs::read(&config).map_err(|error| {
                    Error::io("failed to read sandbox config", &error)
                        .hint(config.display().to_string())
                })?;
                let spec = Spec::parse(&json).map_err(|error| {
                    Error::invalid(format_args!("failed to parse sandbox config: {error}"))
                })?;
                let spec = Any { type_url: SPEC.to_owned(), value: spec.to_json().into() };
                let client = at.client().await?;
                run(&client, &id, runtime, spec).await?;
                Ok(at.printer.line(id)?)
            }
            Self::List { filters } => {
                let filters = Filters::parse(&filters)?;
                let client = at.client().await?;
                let found = client.connection().sandboxes().list(client.scope(), &filters).await;
                let found = found.context(|| "failed to list sandboxes")?;
                let lines: Vec<Line> = found.into_iter().map(line).collect();
                Ok(at.printer.rows(Layout::NARROW, &lines)?)
            }
            Self::Remove { force, ids } => {
                let client = at.client().await?;
                for id in ids {
                    let stubborn = if force { Stubborn::Removed } else { Stubborn::Kept };
                    // As with ctr, one that cannot be removed is no failure of the command.
                    match remove(at, &client, &id, stubborn).await {
                        Ok(()) => at.printer.note(format_args!("deleted: {id}")),
                        Err(error) => at.printer.note(error),
                    }
                }
                Ok(())
            }
            Self::Info { id } => {
                if id.is_empty() {
                    return Err(Error::invalid("sandbox id must be provided").into());
                }
                let client = at.client().await?;
                let found = client.connection().sandboxes().get(client.scope(), &id).await;
                let sandbox = found.context(|| format!("failed to load sandbox {id}"))?;
                Ok(at.printer.ctr_json(&record(&sandbox))?)
            }
        }
    }
}

async fn run(client: &Client, id: &str, runtime: String, spec: Any) -> Result<()> {
    let (connection, scope) = (client.connection(), client.scope());
    let sandboxer = default_sandboxer(client).await?;
    let options = Some(Any { type_url: NO_OPTIONS.to_owned(), value: Default::default() });
    let sandbox = Sandbox {
        id: id.to_owned(),
        labels: Labels::new(),
        runtime: Runtime { name: runtime, options },
        spec: Some(spec),
        sandboxer: sandboxer.clone(),
        extensions: BTreeMap::new(),
        created: SystemTime::now(),
        updated: SystemTime::now(),
    };
    let store = connection.sandboxes();
    let stored = store.create(scope, sandbox).await;
    let sandbox = stored.context(|| "failed to create new sandbox")?;
    let controller = connection.sandbox_controller(&sandboxer);
    let made = async {
        let made = controller.create(scope, sandbox, Create::default()).await;
        made.context(|| {
            format!(
                "failed to create new sandbox: failed to create sandbox with {sandboxer} sandboxer"
            )
        })?;
        controller.start(scope, id).await.context(|| "failed to start")
    };
    if let Err(error) = made.await {
        // The controller keeps nothing of it; a record alone would only be in the way.
        let _ = store.delete(scope, id).await;
        return Err(error);
    }
    Ok(())
}

async fn default_sandboxer(client: &Client) -> Result<String> {
    let labels = client.connection().namespaces().get(&client.scope().namespace).await;
    let labels = labels.context(|| "failed to get default sandboxer")?;
    let sandboxer = labels.get(DEFAULT_SANDBOXER).filter(|name| !name.is_empty());
    Ok(sandboxer.cloned().unwrap_or_else(|| SANDBOXER.to_owned()))
}

/// What happens to a sandbox that does not stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stubborn {
    Kept,
    Removed,
}

async fn remove(at: &Context, client: &Client, id: &str, stubborn: Stubborn) -> Result<()> {
    let (connection, scope) = (client.connection(), client.scope());
    let store = connection.sandboxes();
    let sandbox = store.get(scope, id).await.context(|| format!("failed to load sandbox {id}"))?;
    // Older ctrs leave it out of the record.
    let sandboxer = match sandbox.sandboxer.is_empty() {
        true => default_sandboxer(client).await?,
        false => sandbox.sandboxer,
    };
    let controller = connection.sandbox_controller(sandboxer);
    let stopped = controller.stop(scope, id, Duration::ZERO).await;
    if let Err(error) = stopped.context(|| format!("failed to stop sandbox {id}")) {
        if stubborn == Stubborn::Kept {
            return Err(error.hint("remove it with --force"));
        }
        at.printer.note(error);
    }
    let gone = |result: Result<()>| match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    };
    gone(controller.shutdown(scope, id).await)
        .context(|| format!("failed to shutdown sandbox {id}"))?;
    gone(store.delete(scope, id).await)
        .context(|| format!("failed to delete sandbox {id} from store"))
}

fn line(sandbox: Sandbox) -> Line {
    Line {
        id: sandbox.id,
        created: times::json(sandbox.created),
        runtime: sandbox.runtime.name,
        shown: times::go(sandbox.created),
    }
}

fn record(sandbox: &Sandbox) -> Record<'_> {
    let extensions = sandbox.extensions.iter();
    Record {
        id: &sandbox.id,
        labels: Some(&sandbox.labels).filter(|labels| !labels.is_empty()),
        runtime: RecordRuntime {
            name: &sandbox.runtime.name,
            options: sandbox.runtime.options.as_ref().map(packed),
        },
        spec: sandbox.spec.as_ref().map(packed),
        sandboxer: &sandbox.sandboxer,
        created_at: times::json(sandbox.created),
        updated_at: times::json(sandbox.updated),
        extensions: extensions.map(|(name, any)| (name.as_str(), packed(any))).collect(),
    }
}
