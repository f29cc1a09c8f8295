//! `tasks metrics`.

use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use stowd_client::metrics::{Metrics as Numbers, read};
use stowd_core::tasks::Metric;
use stowd_core::{Error, Result};

use super::One;
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::table::{Layout, Table};

/// Measure a task once
#[derive(Debug, clap::Args)]
#[command(visible_alias = "metric")]
pub(crate) struct Metrics {
    /// "table" or "json"
    #[arg(long, default_value = "table")]
    format: String,
    #[command(flatten)]
    one: One,
}

impl Metrics {
    pub(super) async fn run(self, at: &Context) -> Outcome {
        let json = match self.format.as_str() {
            "json" => true,
            "table" => at.printer.format() == Format::Json,
            _ => return Err(Error::unknown("format must be table or json").into()),
        };
        let metric = self.one.task(at).await?.metrics().await?;
        let numbers = read(&metric)?;
        let text = if json { to_json(&numbers)? } else { to_tables(&metric, &numbers) };
        Ok(at.printer.bytes(text.as_bytes())?)
    }
}

fn to_json(numbers: &Numbers) -> Result<String> {
    let mut text = Vec::new();
    let format = PrettyFormatter::with_indent(b"  ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    numbers
        .serialize(&mut serializer)
        .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
    text.push(b'\n');
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// ctr's `tabwriter.NewWriter(os.Stdout, 1, 8, 4, ' ', 0)`, a tab behind each cell.
const LAYOUT: Layout = Layout { least: 1, ..Layout::WIDE };

fn to_tables(metric: &Metric, numbers: &Numbers) -> String {
    let mut head = Table::new(LAYOUT, &["ID", "TIMESTAMP"]);
    head.add(vec![metric.id.clone(), go_timestamp(metric.at)]);
    let mut table = Table::new(LAYOUT, &["METRIC", "VALUE"]);
    for (name, value) in rows(numbers) {
        table.add(vec![name.to_owned(), value]);
    }
    format!("{head}\n{table}")
}

/// A time as Go prints the protobuf message.
fn go_timestamp(at: std::time::SystemTime) -> String {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match since.subsec_nanos() {
        0 => format!("seconds:{}", since.as_secs()),
        nanos => format!("seconds:{} nanos:{nanos}", since.as_secs()),
    }
}

fn rows(numbers: &Numbers) -> Vec<(&'static str, String)> {
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name: &'static str, value: u64| rows.push((name, value.to_string()));
    match numbers {
        Numbers::V1(all) => {
            if let Some(memory) = &all.memory {
                let usage = memory.usage.unwrap_or_default();
                add("memory.usage_in_bytes", usage.usage);
                add("memory.limit_in_bytes", usage.limit);
                add("memory.stat.cache", memory.total_cache);
            }
            if let Some(usage) = all.cpu.as_ref().and_then(|cpu| cpu.usage.as_ref()) {
                add("cpuacct.usage", usage.total);
                let each: Vec<String> = usage.per_cpu.iter().map(u64::to_string).collect();
                rows.push(("cpuacct.usage_percpu", format!("[{}]", each.join(" "))));
            }
            if let Some(pids) = &all.pids {
                rows.push(("pids.current", pids.current.to_string()));
                rows.push(("pids.limit", pids.limit.to_string()));
            }
        }
        Numbers::V2(all) => {
            if let Some(pids) = &all.pids {
                add("pids.current", pids.current);
                add("pids.limit", pids.limit);
            }
            if let Some(cpu) = &all.cpu {
                add("cpu.usage_usec", cpu.usage_usec);
                add("cpu.user_usec", cpu.user_usec);
                add("cpu.system_usec", cpu.system_usec);
                add("cpu.nr_periods", cpu.nr_periods);
                add("cpu.nr_throttled", cpu.nr_throttled);
                add("cpu.throttled_usec", cpu.throttled_usec);
            }
            if let Some(memory) = &all.memory {
                add("memory.usage", memory.usage);
                add("memory.usage_limit", memory.usage_limit);
                add("memory.swap_usage", memory.swap_usage);
                add("memory.swap_limit", memory.swap_limit);
            }
        }
    }
    rows
}
