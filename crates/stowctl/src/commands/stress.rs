//! `stress`, which is all of the program where it is started as `containerd-stress`.

mod density;
mod metrics;
mod report;
mod worker;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Subcommand;
use futures_util::future::join_all;
use stowd_client::{Client, Image, Pull};
use stowd_core::filters::Filters;
use stowd_core::{Error, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::signals::{self, Signals};
use crate::units;
use metrics::Metrics;
use report::{Report, Work};
use worker::Worker;

/// The namespace of all that a test makes, apart from [`density`]'s.
const NAMESPACE: &str = "stress";

/// Creates, starts and deletes containers for a while, and says how many a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Stress {
    /// Path of the daemon's socket
    #[arg(short, long, value_name = "SOCKET")]
    address: Option<PathBuf>,
    /// How many containers to run side by side
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1)]
    concurrent: usize,
    /// Make pods through CRI (not implemented)
    #[arg(long)]
    cri: bool,
    /// How long to go on
    #[arg(short, long, value_parser = units::parse_duration, default_value = "1m")]
    duration: Duration,
    /// Run further processes in as many containers that stay, beside those that come and go
    #[arg(long)]
    exec: bool,
    /// The image; it is pulled where the test's namespace does not have it
    #[arg(short, long, value_name = "REF", default_value = "docker.io/library/alpine:latest")]
    image: String,
    /// Print the results as JSON
    #[arg(short = 'j')]
    json_line: bool,
    /// Address at which to serve metrics for Prometheus while the test runs, such as :9100
    #[arg(short, long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// The runtime
    #[arg(long, value_name = "NAME", default_value = "io.containerd.runc.v2")]
    runtime: String,
    /// The snapshotter
    #[arg(long, value_name = "NAME", default_value = "overlayfs")]
    snapshotter: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the memory that containers' shims take
    Density(density::Density),
}

/// What all workers of a test need.
struct Test {
    client: Client,
    image: Image,
    runtime: String,
    snapshotter: String,
}

impl Stress {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        if self.cri {
            return Err(Error::not_implemented("stress with --cri")
                .hint("leave --cri out: containers then go through containerd's own API")
                .into());
        }
        match &self.command {
            Some(Command::Density(density)) => density.run(&self, at).await,
            None => self.test(at).await,
        }
    }

    async fn test(&self, at: &Context) -> Outcome {
        let metrics = Rc::new(Metrics::new());
        let serving = match &self.metrics {
            Some(address) => Some(metrics::Server::bind(address).await?),
            None => None,
        };
        let serve = async {
            match serving {
                Some(server) => server.serve(&metrics).await,
                None => std::future::pending().await,
            }
        };
        let work = self.work(at, &metrics);
        tokio::select! {
            done = work => done,
            never = serve => match never {},
        }
    }

    async fn work(&self, at: &Context, metrics: &Rc<Metrics>) -> Outcome {
        let mut signals = Signals::catch()?;
        let test = Rc::new(signals.until_asked(self.prepare(at, NAMESPACE)).await?);
        metrics.set_revision(test.client.version().await?.revision);
        self.say(at, "starting stress test run...");
        let started = Instant::now();
        let over = Rc::new(Cell::new(false));
        let worker = |number: usize| {
            let until = started + self.duration;
            Worker::new(number, &test, until, &over, metrics, &at.printer)
        };
        let containers = join_all((0..self.concurrent).map(|number| worker(number).run()));
        let execs = if self.exec { self.concurrent } else { 0 };
        let execs = join_all((0..execs).map(|number| worker(self.concurrent + number).run_execs()));
        let mut all = std::pin::pin!(async { tokio::join!(containers, execs) });
        let (containers, execs) = loop {
            tokio::select! {
                counts = &mut all => break counts,
                // Whoever ends a test early still wants to know what it came to.
                number = signals.next() => over.set(over.get() || signals::ends(number)),
            }
        };
        let sum = |work: Vec<Work>| work.into_iter().sum();
        let report = Report::new(sum(containers), sum(execs), started.elapsed());
        self.say(at, format_args!("ending test run in {:.3} seconds", report.seconds));
        self.say(at, report);
        if self.prints_json(at) { Ok(at.printer.line(report.to_json()?)?) } else { Ok(()) }
    }

    /// Connects, clears away what an earlier test left, and gets at the image.
    async fn prepare(&self, at: &Context, namespace: &str) -> Result<Test> {
        let client = match &self.address {
            Some(address) => at.client_at(address).await?,
            None => at.client().await?,
        };
        let client = client.in_namespace(namespace)?;
        clear(&client).await?;
        let image = match client.image(&self.image).await {
            Err(error) if error.is_not_found() => {
                self.say(at, format_args!("pulling {}", self.image));
                let mut pull = Pull::of(&self.image);
                pull.unpack = Some(self.snapshotter.clone());
                client.pull(pull).await?
            }
            found => found?,
        };
        let (runtime, snapshotter) = (self.runtime.clone(), self.snapshotter.clone());
        Ok(Test { client, image, runtime, snapshotter })
    }

    fn prints_json(&self, at: &Context) -> bool {
        self.json_line || at.printer.format() == Format::Json
    }

    /// Says what goes on, unless a program listens.
    fn say(&self, at: &Context, line: impl std::fmt::Display) {
        if self.prints_json(at) {
            at.printer.debug(line);
        } else {
            at.printer.note(line);
        }
    }
}

/// Removes all containers of a namespace with their tasks and snapshots.
async fn clear(client: &Client) -> Result<()> {
    for container in client.containers(&Filters::parse(&[] as &[String])?).await? {
        if let Ok(task) = container.task().await {
            // Its container cannot be removed if this fails, which is told.
            let _ = task.kill_and_delete().await;
        }
        container.delete_with_snapshot().await?;
    }
    Ok(())
}
