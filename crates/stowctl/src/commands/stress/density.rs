//! `stress density`.

use std::path::PathBuf;

use serde::Serialize;
use stowd_client::{Container, Task};
use stowd_core::{Error, Result};

use super::report::to_json;
use super::worker::remove;
use super::{Stress, Test};
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::Signals;

/// The namespace of the containers.
const NAMESPACE: &str = "density";
/// How long the containers sleep: they are removed before.
const TIME: &str = "120m";

/// Measures the memory that containers' shims take.
#[derive(Debug, clap::Args)]
pub(super) struct Density {
    /// Number of containers to run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// Kilobytes, under containerd-stress's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    pss: u64,
    rss: u64,
    pss_per_container: u64,
    rss_per_container: u64,
}

impl Density {
    pub(super) async fn run(&self, stress: &Stress, at: &Context) -> Outcome {
        let mut signals = Signals::catch()?;
        let test = signals.until_asked(stress.prepare(at, NAMESPACE)).await?;
        let mut running = Vec::new();
        let mut asked = Ok(());
        let mut measured = Ok(Memory::default());
        for number in 0..self.count {
            match signals.through(start(&test, number)).await {
                Ok((one, end)) => {
                    running.push(one);
                    asked = end.go_on();
                }
                Err(failure) => asked = Err(failure),
            }
            if asked.is_err() {
                break;
            }
        }
        if asked.is_ok() {
            measured = measure(&running);
        }
        for (container, task) in &running {
            if let Err(error) = remove(container, task).await {
                at.printer.note(format_args!("remove {}: {error}", container.id()));
            }
        }
        asked?;
        Ok(at.printer.line(to_json(&measured?)?)?)
    }
}

async fn start(test: &Test, number: u32) -> Result<(Container, Task)> {
    test.sleeping(&format!("density-{number}"), TIME).await
}

/// Adds up the memory of the processes' parents, which are the shims.
fn measure(running: &[(Container, Task)]) -> Result<Memory> {
    let mut memory = Memory::default();
    for (_, task) in running {
        let maps = read(format!("/proc/{}/smaps", parent(task.pid())?).into())?;
        memory.rss += kilobytes(&maps, "Rss:");
        memory.pss += kilobytes(&maps, "Pss:");
    }
    let count = running.len().max(1) as u64;
    memory.pss_per_container = memory.pss / count;
    memory.rss_per_container = memory.rss / count;
    Ok(memory)
}

fn parent(pid: u32) -> Result<u32> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = read(path.clone())?;
    // The program's name, in brackets, may hold anything.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let parent = fields.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    parent.ok_or_else(|| Error::unknown(format_args!("{} names no parent", path.display())))
}

fn kilobytes(maps: &str, field: &str) -> u64 {
    let of_line = |line: &str| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok();
    maps.lines().filter_map(of_line).fold(0, u64::saturating_add)
}

fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path)
        .map_err(|error| Error::io(format_args!("read {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_shows() {
        assert_eq!(parent(std::process::id()).unwrap(), std::os::unix::process::parent_id());
        let maps = "1-2 r\nRss:   8 kB\nPss:  3 kB\nPss_Dirty: 9 kB\n2-3 r\nRss: 4 kB\nPss: 1 kB\n";
        assert_eq!((kilobytes(maps, "Rss:"), kilobytes(maps, "Pss:")), (12, 4));
    }
}
