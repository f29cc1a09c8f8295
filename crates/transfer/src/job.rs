//! What all steps of one transfer share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stowd_core::leases::Resource;
use stowd_core::registry::Repository;
use stowd_core::{Error, ErrorKind, Result, Scope};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::flight::Flights;
use crate::local::{Config, Parts};
use crate::tracker::Tracker;

/// What all transfers share.
pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) config: Config,
    /// The config's `registry_config_path`, which may change.
    pub(crate) registry_config_path: RwLock<String>,
    pub(crate) flights: Flights,
    pub(crate) downloads: Semaphore,
    /// For layers that come from the content store.
    pub(crate) unpacks: Arc<Semaphore>,
    /// For layers that are unpacked while they download. They are apart, because on a slow network
    /// they mostly wait, and layers that are here need not wait with them.
    pub(crate) streams: Arc<Semaphore>,
}

/// One transfer into the image store.
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    /// With a lease.
    pub(crate) scope: Scope,
    pub(crate) tracker: Tracker,
    pub(crate) origin: Origin,
    /// Set when a step has failed: the others end as soon as they can.
    pub(crate) failed: CancellationToken,
    /// What came here, whole or in part.
    pub(crate) brought: Mutex<BTreeSet<Resource>>,
}

/// Where blobs come from that are not in the content store.
pub(crate) enum Origin {
    /// A registry; each blob is labelled with where it is from.
    Registry {
        repository: Arc<dyn Repository>,
        /// `containerd.io/distribution.source.<host>`.
        label: String,
    },
    /// From nowhere: what is not here is missing.
    Store(Missing),
}

/// What to do about content that is not here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is an error.
    Fails,
    /// An archive may hold some platforms of an index only.
    Passes,
}

impl Shared {
    pub(crate) fn new(parts: Parts, config: Config) -> Self {
        Self {
            downloads: Semaphore::new(config.max_concurrent_downloads.max(1)),
            unpacks: Arc::new(Semaphore::new(config.max_concurrent_unpacks.max(1))),
            streams: Arc::new(Semaphore::new(config.max_concurrent_unpacks.max(1))),
            registry_config_path: RwLock::new(config.registry_config_path.clone()),
            flights: Flights::default(),
            parts,
            config,
        }
    }
}

impl Shared {
    /// Returns the folder of `hosts.toml` files for requests that name none.
    pub(crate) fn registry_config_path(&self) -> String {
        self.registry_config_path.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Job {
    /// Says whether missing content is passed over.
    pub(crate) fn passes_missing(&self) -> bool {
        matches!(self.origin, Origin::Store(Missing::Passes))
    }

    /// Runs a step until it is done or another has failed.
    pub(crate) async fn unless_failed<T>(
        &self,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.failed.cancelled() => Err(given_up()),
            done = step => done,
        }
    }
}

/// The error of a step that ended because another had failed.
fn given_up() -> Error {
    Error::canceled("given up because another part of the transfer failed")
}

/// Gathers the outcomes of steps that ran side by side: the first error that is not only the echo
/// of another one counts.
#[derive(Default)]
pub(crate) struct Outcome(Option<Error>);

impl Outcome {
    pub(crate) fn add(&mut self, done: Result<()>) {
        let Err(error) = done else { return };
        let echo = self.0.as_ref().is_some_and(|first| first.is(ErrorKind::Canceled));
        if self.0.is_none() || echo {
            self.0 = Some(error);
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Returns what a spawned step returned.
pub(crate) fn joined<T>(done: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.unwrap_or_else(|error| Err(Error::internal(format_args!("step ended: {error}"))))
}
