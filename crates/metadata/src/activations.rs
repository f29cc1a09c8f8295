//! The mount manager: names, labels and leases of activations over a mounter that knows them by number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, ActivationId, Found, Manager, Mounter, Options, State};
use stowd_core::{Chunks, Error, Namespace, Result, Scope};

use crate::database::{Database, Read as _, decode};
use crate::fields;
use crate::inner::{Inner, Numbers};
use crate::key::{self, Key, kind};
use crate::record::{ActivationRecord, ActiveRecord, MountRecord, nanos};
use crate::transaction::Transaction;

/// What a lease's list calls activations. Clients neither see nor set these entries.
pub(crate) const MOUNTS: &str = "mounts";

/// The contract's face.
pub(crate) struct Mounts(pub(crate) Arc<Inner>);

/// What makes mounts, and the books of those being made.
pub(crate) struct Activations {
    mounter: Option<Arc<dyn Mounter>>,
    numbers: Numbers<ActivationId>,
    names: Names,
}

/// Lets one call at a time work on a name.
#[derive(Default)]
struct Names(Mutex<BTreeMap<Key, Weak<tokio::sync::Mutex<()>>>>);

impl Activations {
    pub(crate) async fn open(
        database: &Database,
        mounter: Option<Arc<dyn Mounter>>,
    ) -> Result<Self> {
        let mut last = 0;
        for (_, record) in records(database)? {
            last = last.max(record.id);
        }
        for found in list(mounter.as_ref()).await? {
            last = last.max(found.id.0);
        }
        let numbers = Numbers::new(last, ActivationId);
        Ok(Self { mounter, numbers, names: Names::default() })
    }

    fn mounter(&self) -> Result<Arc<dyn Mounter>> {
        self.mounter.clone().ok_or_else(|| Error::not_implemented("activation of mounts"))
    }
}

#[async_trait]
impl Manager for Mounts {
    async fn activate(
        &self,
        scope: &Scope,
        name: &str,
        mounts: Vec<Mount>,
        mut options: Options,
    ) -> Result<Activation> {
        if name.is_empty() {
            return Err(Error::invalid("the name of an activation must not be empty"));
        }
        let mounter = self.0.activations.mounter()?;
        mounter.check(&mounts, &options)?;
        fields::tidy(&mut options.labels);
        let key = key::activation(&scope.namespace, name);
        let lock = self.0.activations.names.of(&key);
        let _name = lock.lock().await;
        self.0.database.view(|view| {
            if view.has(&key)? {
                return Err(Error::already_exists(format_args!("mount {name:?}")));
            }
            match &scope.lease {
                Some(lease) if !view.has(&key::lease(&scope.namespace, lease))? => {
                    Err(Error::not_found("lease does not exist"))
                }
                _ => Ok(()),
            }
        })?;
        let working = self.0.activations.numbers.begin();
        let id = working.id;
        let started = SystemTime::now();
        let labels = options.labels.clone();
        let made = blocking(move || mounter.make(id, mounts, &options)).await?;
        let record = ActivationRecord {
            labels,
            created: nanos(started),
            id: id.0,
            active: made.active.iter().map(ActiveRecord::from_active_mount).collect(),
            system: made.system.iter().map(MountRecord::from_mount).collect(),
            lease: scope.lease.clone(),
        };
        let (scope, owned) = (scope.clone(), name.to_owned());
        let recorded = self.0.queue.write(move |tx| {
            tx.lease(&scope, MOUNTS, &owned)?;
            tx.put(&key, &record)?;
            Ok(record.activation(owned))
        });
        let recorded = recorded.await;
        if recorded.is_err()
            && let Err(error) = undo(&self.0, id).await
        {
            tracing::warn!(%error, id = id.0, "mounts without an activation stay for now");
        }
        recorded
    }

    async fn deactivate(&self, scope: &Scope, name: &str) -> Result<()> {
        let key = key::activation(&scope.namespace, name);
        let lock = self.0.activations.names.of(&key);
        let _name = lock.lock().await;
        let record = self.record(scope, name)?;
        let id = ActivationId(record.id);
        // So that a collection leaves to this call what has no record from here on.
        let working = self.0.activations.numbers.again(id);
        let (namespace, name) = (scope.namespace.clone(), name.to_owned());
        self.0
            .queue
            .write(move |tx| {
                // A collection may have been faster; it then undoes the mounts, too.
                if !tx.has(&key::activation(&namespace, &name))? {
                    return Err(absent(&name));
                }
                forget_name(tx, &namespace, &name, &record)
            })
            .await?;
        undo(&self.0, working.id).await
    }

    async fn info(&self, scope: &Scope, name: &str) -> Result<Activation> {
        Ok(self.record(scope, name)?.activation(name.to_owned()))
    }

    async fn list(&self, scope: &Scope) -> Result<Chunks<Activation>> {
        let prefix = Key::new(kind::ACTIVATION, [scope.namespace.as_str()]);
        Ok(self.0.list(prefix, Filters::default(), |key, value| {
            let Some([_, name]) = key::parts(key) else { return Ok(None) };
            Ok(Some(decode::<ActivationRecord>(key, value)?.activation(name)))
        }))
    }
}

impl Mounts {
    fn record(&self, scope: &Scope, name: &str) -> Result<ActivationRecord> {
        let key = key::activation(&scope.namespace, name);
        self.0.database.view(|view| view.get(&key))?.ok_or_else(|| absent(name))
    }
}

impl Names {
    fn of(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = names.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        names.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        names.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// Removes an activation's records and gives its mounts up.
pub(crate) fn forget(
    tx: &mut Transaction<'_>,
    namespace: &Namespace,
    name: &str,
    record: &ActivationRecord,
) -> Result<()> {
    forget_name(tx, namespace, name, record)?;
    tx.freed().activations.push(ActivationId(record.id));
    Ok(())
}

fn forget_name(
    tx: &mut Transaction<'_>,
    namespace: &Namespace,
    name: &str,
    record: &ActivationRecord,
) -> Result<()> {
    tx.delete(&key::activation(namespace, name))?;
    let scope = Scope { namespace: namespace.clone(), lease: record.lease.clone() };
    tx.unlease(&scope, MOUNTS, name)
}

/// Undoes the mounts of an activation.
pub(crate) async fn undo(inner: &Inner, id: ActivationId) -> Result<()> {
    match &inner.activations.mounter {
        Some(mounter) => {
            let mounter = mounter.clone();
            blocking(move || mounter.undo(id)).await
        }
        None => Ok(()),
    }
}

/// Forgets the activations whose mounts are gone, for instance because the machine was restarted, and
/// undoes what is left of them.
pub(crate) async fn forget_broken(inner: &Arc<Inner>) -> Result<()> {
    let mut broken = records(&inner.database)?;
    if broken.is_empty() || inner.activations.mounter.is_none() {
        return Ok(());
    }
    let whole: BTreeSet<u64> = list(inner.activations.mounter.as_ref())
        .await?
        .into_iter()
        .filter(|found| found.state == State::Whole)
        .map(|found| found.id.0)
        .collect();
    broken.retain(|(_, record)| !whole.contains(&record.id));
    if broken.is_empty() {
        return Ok(());
    }
    tracing::info!(count = broken.len(), "forgetting activations whose mounts are gone");
    inner
        .queue
        .write(move |tx| {
            for (key, record) in &broken {
                let Some([namespace, name]) = key.parts() else { continue };
                forget(tx, &Namespace::new(namespace)?, &name, record)?;
            }
            Ok(())
        })
        .await
}

/// Lists the activations of which there are mounts, but no record, and that nobody is working on.
pub(crate) async fn strays(inner: &Inner) -> Result<Vec<ActivationId>> {
    // In this order: an activation is no longer in work only when it is recorded or undone.
    let mut strays = list(inner.activations.mounter.as_ref()).await?;
    if strays.is_empty() {
        return Ok(Vec::new());
    }
    let working = inner.activations.numbers.in_work();
    let known: BTreeSet<u64> =
        records(&inner.database)?.into_iter().map(|(_, record)| record.id).collect();
    strays.retain(|found| !working.contains(&found.id) && !known.contains(&found.id.0));
    Ok(strays.into_iter().map(|found| found.id).collect())
}

fn records(database: &Database) -> Result<Vec<(Key, ActivationRecord)>> {
    let mut records = Vec::new();
    database.view(|view| {
        view.walk(&Key::new::<0>(kind::ACTIVATION, []), None, |key, value| {
            records.push((Key::from_bytes(key), decode(key, value)?));
            Ok(std::ops::ControlFlow::Continue(()))
        })
    })?;
    Ok(records)
}

async fn list(mounter: Option<&Arc<dyn Mounter>>) -> Result<Vec<Found>> {
    match mounter {
        Some(mounter) => {
            let mounter = mounter.clone();
            blocking(move || mounter.list()).await
        }
        None => Ok(Vec::new()),
    }
}

/// Runs a mounter's call, which blocks, where it may.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| Error::internal(format_args!("mounting failed: {error}")))?
}

fn absent(name: &str) -> Error {
    Error::not_found(format_args!("mount {name:?} not found"))
}
