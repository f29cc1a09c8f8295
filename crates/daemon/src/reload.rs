//! Changing settings while the daemon runs.
//!
//! What can change is a short list ([`Reloader::apply`]): things that are asked for each time they are
//! needed. Everything else was built into a part, and building that part anew under running
//! containers is what a restart is for: it costs them nothing.

use std::sync::{Arc, Weak};

use stowd_metadata::Metadata;
use stowd_transfer::Local;

use crate::Config;
use crate::config::Document;
use crate::notify::notify;

/// Keys that take effect at once, each with what is below it.
const LIVE: &[&str] = &[
    "debug.level",
    "oom_score",
    "plugins.'io.containerd.gc.v1.scheduler'",
    "plugins.'io.containerd.transfer.v1.local'.config_path",
];

/// Changes an engine's settings.
#[derive(Clone)]
pub struct Reloader {
    metadata: Weak<Metadata>,
    transfer: Weak<Local>,
}

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that can take effect at once.
    pub live: Vec<String>,
    /// Keys that take effect after a restart.
    pub after_restart: Vec<String>,
}

impl Changes {
    /// Compares two configurations.
    #[must_use]
    pub fn between(old: &Document, new: &Document) -> Self {
        let is_live = |key: &String| {
            LIVE.iter().any(|live| {
                key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let (live, after_restart) = old.differences(new).into_iter().partition(is_live);
        Self { live, after_restart }
    }
}

impl Reloader {
    pub(crate) fn new(metadata: &Arc<Metadata>, transfer: &Arc<Local>) -> Self {
        Self { metadata: Arc::downgrade(metadata), transfer: Arc::downgrade(transfer) }
    }

    /// Lets what can change take effect: the collector's schedule, the folder of `hosts.toml` files,
    /// the daemon's OOM score. The log's level is the [`Logger`](crate::Logger)'s.
    pub fn apply(&self, config: &Config, changes: &Changes) {
        if let Some(metadata) = self.metadata.upgrade() {
            metadata.reschedule(config.metadata.collector.clone());
        }
        if let Some(transfer) = self.transfer.upgrade() {
            transfer.set_registry_config_path(config.transfer.registry_config_path.clone());
        }
        // Where the file says nothing, what the service manager set must stay.
        if changes.live.iter().any(|key| key == "oom_score") {
            crate::process::set_oom_score(config.oom_score);
        }
    }

    /// Tells the service manager that a reload begins or is done.
    pub fn announce(&self, stage: Stage) {
        match stage {
            Stage::Begun => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
                notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
            }
            Stage::Done => notify("READY=1"),
        }
    }
}

/// How far a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It begins.
    Begun,
    /// It has ended, whether something changed or not.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_can_change_from_what_cannot() {
        let old = Document::parse("version = 2\n[debug]\nlevel = 'info'\n").unwrap();
        let new = "version = 3\nroot = '/r'\n[debug]\nlevel = 'warn'\nformat = 'json'\n\
                   [grpc]\ngid = 5\n[plugins.'io.containerd.gc.v1.scheduler']\n\
                   mutation_threshold = 5\n";
        let changes = Changes::between(&old, &Document::parse(new).unwrap());
        let scheduler = "plugins.'io.containerd.gc.v1.scheduler'.mutation_threshold";
        assert_eq!(changes.live, ["debug.level", scheduler]);
        let keys = [
            "plugins.'io.containerd.server.v1.grpc'.gid",
            "plugins.'io.containerd.server.v1.ttrpc'.gid",
            "root",
        ];
        for key in keys {
            assert!(changes.after_restart.iter().any(|found| found == key), "{key}: {changes:?}");
        }
        // What is only said by one, and says the default, is no change.
        let same =
            Document::parse("version = 3\noom_score = 0\n[debug]\nlevel = 'info'\n").unwrap();
        assert_eq!(Changes::between(&old, &same), Changes::default());
    }
}
