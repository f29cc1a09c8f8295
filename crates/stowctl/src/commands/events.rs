//! `events`.

mod wire;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use stowd_core::Error;
use stowd_core::events::Exchange as _;
use stowd_core::filters::Filters;

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::{Format, for_html};
use crate::times;

/// Prints what happens, of all namespaces, until it is ended
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only events that pass one of these, such as topic==/tasks/exit or namespace==default
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    timestamp: String,
    namespace: String,
    topic: String,
    event: serde_json::Value,
}

impl Events {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let filters = Filters::parse(&self.filters)?;
        let client = at.client().await?;
        let mut events = client.connection().events().subscribe(filters).await?;
        let encode = |error| Error::internal(format_args!("encode JSON: {error}"));
        while let Some(it) = events.try_next().await? {
            let (namespace, topic) = (it.namespace.to_string(), it.topic);
            let line = if at.printer.format() == Format::Json {
                let (timestamp, event) = (times::json(it.timestamp), wire::value(it.event));
                let event = serde_json::to_value(event).map_err(encode)?;
                serde_json::to_string(&Line { timestamp, namespace, topic, event })
                    .map_err(encode)?
            } else {
                let event = serde_json::to_string(&wire::value(it.event)).map_err(encode)?;
                format!("{} {namespace} {topic} {}", times::go(it.timestamp), for_html(&event))
            };
            if !at.printer.line_while_read(line)? {
                break;
            }
        }
        Ok(())
    }
}
