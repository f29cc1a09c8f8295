//! What a test came to.

use std::fmt;
use std::iter::Sum;
use std::time::Duration;

use serde::Serialize;
use stowd_core::{Error, Result};

/// What one worker did, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// How often it was tried.
    pub(super) total: u64,
    /// How often that failed.
    pub(super) failures: u64,
}

/// The results, under containerd-stress's names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    total: u64,
    failures: u64,
    pub(super) seconds: f64,
    containers_per_second: f64,
    seconds_per_container: f64,
    exec_total: u64,
    exec_failures: u64,
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            total: sum.total + one.total,
            failures: sum.failures + one.failures,
        })
    }
}

impl Report {
    pub(super) fn new(containers: Work, execs: Work, took: Duration) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "containers of one run")]
        let count = containers.total as f64;
        let seconds = took.as_secs_f64();
        Self {
            total: containers.total,
            failures: containers.failures,
            seconds,
            containers_per_second: count / seconds,
            // JSON has no infinity for a test in which there was no container.
            seconds_per_container: if count > 0.0 { seconds / count } else { 0.0 },
            exec_total: execs.total,
            exec_failures: execs.failures,
        }
    }

    /// One line of JSON.
    pub(super) fn to_json(self) -> Result<String> {
        to_json(&self)
    }
}

/// Encodes in one line, as containerd-stress prints it.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "create/start/delete {} containers in {:.3} seconds ({:.3} c/sec) or ({:.3} sec/c), {} failures",
            self.total,
            self.seconds,
            self.containers_per_second,
            self.seconds_per_container,
            self.failures
        )?;
        if self.exec_total > 0 {
            write!(f, "; {} execs, {} failures", self.exec_total, self.exec_failures)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_containerd_stresss() {
        let work = |total, failures| Work { total, failures };
        let containers = [work(3, 1), work(1, 0)].into_iter().sum();
        let report = Report::new(containers, work(2, 0), Duration::from_secs(2));
        assert_eq!(
            report.to_json().unwrap(),
            "{\"total\":4,\"failures\":1,\"seconds\":2.0,\"containersPerSecond\":2.0,\
             \"secondsPerContainer\":0.5,\"execTotal\":2,\"execFailures\":0}"
        );
        let none = Report::new(Work::default(), Work::default(), Duration::from_secs(1));
        assert!(none.to_json().unwrap().contains("\"secondsPerContainer\":0.0"));
    }
}
