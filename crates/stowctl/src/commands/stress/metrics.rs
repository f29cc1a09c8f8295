//! What a test tells Prometheus, in its text format (version 0.0.4).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use stowd_core::{Error, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Upper bounds of the times that are counted together, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The most that a request may say.
const REQUEST: usize = 16 << 10;
/// How long a caller may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The programs whose size is told, as containerd-stress does.
const PROGRAMS: [&str; 3] =
    ["/usr/local/bin/ctr", "/usr/local/bin/containerd", "/usr/local/bin/containerd-shim-runc-v2"];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A container from its creation to its deletion.
    Run,
    /// A further process, the same way.
    Exec,
}

/// Times and errors so far.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    revision: RefCell<String>,
    run: Times,
    exec: Times,
    errors: RefCell<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Times {
    /// How many took no longer than each bound.
    within: [Cell<u64>; BOUNDS.len()],
    count: Cell<u64>,
    sum: Cell<f64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Sets what the times are labelled with.
    pub(super) fn set_revision(&self, revision: String) {
        *self.revision.borrow_mut() = revision;
    }

    pub(super) fn took(&self, kind: Kind, time: Duration) {
        match kind {
            Kind::Run => self.run.add(time),
            Kind::Exec => self.exec.add(time),
        }
    }

    pub(super) fn failed(&self, error: &Error) {
        *self.errors.borrow_mut().entry(error.to_string()).or_default() += 1;
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let sizes: Vec<(&str, u64)> = PROGRAMS
            .into_iter()
            .filter_map(|path| Some((path, std::fs::metadata(path).ok()?.len())))
            .collect();
        if !sizes.is_empty() {
            head(
                &mut text,
                "stress_binary_size_bytes",
                "Binary size of compiled binaries",
                "gauge",
            );
            for (path, size) in sizes {
                line(&mut text, "stress_binary_size_bytes", &[("name", path)], size);
            }
        }
        let errors = self.errors.borrow();
        if !errors.is_empty() {
            let help = "Errors encountered running the stress tests";
            head(&mut text, "stress_errors_total", help, "counter");
            for (error, count) in errors.iter() {
                line(&mut text, "stress_errors_total", &[("err", error)], count);
            }
        }
        let revision = self.revision.borrow();
        let exec = "Run time of an exec process during the test";
        self.exec.write(&mut text, "stress_exec_seconds", exec, &revision);
        let run = "Run time of a full container during the test";
        self.run.write(&mut text, "stress_run_seconds", run, &revision);
        text
    }
}

impl Times {
    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (within, _) in self.within.iter().zip(BOUNDS).filter(|(_, bound)| seconds <= *bound) {
            within.set(within.get() + 1);
        }
        self.count.set(self.count.get() + 1);
        self.sum.set(self.sum.get() + seconds);
    }

    fn write(&self, text: &mut String, name: &str, help: &str, commit: &str) {
        if self.count.get() == 0 {
            return;
        }
        head(text, name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, within) in BOUNDS.iter().zip(&self.within) {
            let labels = [("commit", commit), ("le", &bound.to_string())];
            line(text, &bucket, &labels, within.get());
        }
        line(text, &bucket, &[("commit", commit), ("le", "+Inf")], self.count.get());
        line(text, &format!("{name}_sum"), &[("commit", commit)], self.sum.get());
        line(text, &format!("{name}_count"), &[("commit", commit)], self.count.get());
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let label = |(key, value): &(&str, &str)| {
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        format!("{key}=\"{value}\"")
    };
    let labels: Vec<String> = labels.iter().map(label).collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

/// Answers every request with the metrics.
pub(super) struct Server(TcpListener);

impl Server {
    /// Listens at an address as Go has it: `:PORT` is each of this machine's.
    ///
    /// # Errors
    /// `InvalidArgument` where nobody can listen.
    pub(super) async fn bind(address: &str) -> Result<Self> {
        let full = match address.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => address.to_owned(),
        };
        let listener = TcpListener::bind(&full).await.map_err(|error| {
            Error::invalid(format_args!("listen at {address}: {error}"))
                .hint("--metrics takes HOST:PORT, or :PORT")
        })?;
        Ok(Self(listener))
    }

    pub(super) async fn serve(&self, metrics: &Metrics) -> Infallible {
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.0.accept() => match accepted {
                    Ok((stream, _)) => answers.push(answer(stream, metrics)),
                    // Out of descriptors, perhaps: callers ask again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(()) = answers.next() => {}
            }
        }
    }
}

/// A caller that does not ask properly, or has gone, is no concern of the test.
async fn answer(mut stream: TcpStream, metrics: &Metrics) {
    let exchange = async {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            if request.len() > REQUEST || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let body = metrics.text();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    let _: std::result::Result<std::io::Result<()>, _> =
        tokio::time::timeout(PATIENCE, exchange).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_errors_are_told() {
        let metrics = Metrics::new();
        metrics.set_revision("abc".into());
        metrics.took(Kind::Run, Duration::from_millis(20));
        metrics.took(Kind::Run, Duration::from_secs(20));
        metrics.failed(&Error::unknown("a \"bad\"\nthing"));
        let text = metrics.text();
        for expected in [
            "# TYPE stress_run_seconds histogram\n",
            "stress_run_seconds_bucket{commit=\"abc\",le=\"0.01\"} 0\n",
            "stress_run_seconds_bucket{commit=\"abc\",le=\"0.025\"} 1\n",
            "stress_run_seconds_bucket{commit=\"abc\",le=\"+Inf\"} 2\n",
            "stress_run_seconds_count{commit=\"abc\"} 2\n",
            "stress_errors_total{err=\"a \\\"bad\\\"\\nthing\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
        assert!(!text.contains("exec"), "nothing was run there");
    }
}
