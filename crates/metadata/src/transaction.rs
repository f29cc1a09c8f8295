//! One call's part of a write transaction.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::SystemTime;

use prost::Message;
use redb::Table;
use stowd_core::events::Event;
use stowd_core::leases::Resource;
use stowd_core::mounts::ActivationId;
use stowd_core::snapshots::TreeId;
use stowd_core::{Digest, Error, Namespace, Result, Scope};

use crate::database::{Read, failed};
use crate::key::{self, Key, kind};
use crate::record::{Counter, LeaseRecord, Mark, NamespaceRecord};

type Bytes = &'static [u8];

/// A write transaction as one call sees it: what it wrote can be taken back without harm to the
/// calls before it, which share the transaction.
pub(crate) struct Transaction<'t> {
    table: Table<'t, Bytes, Bytes>,
    undo: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    effects: Effects,
    barrier: &'t mut Barrier,
    broken: bool,
}

/// What happens once the transaction is durable.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// To be published, in this order.
    pub(crate) events: Vec<(Namespace, Event)>,
    /// The call wrote something, and is no part of a collection itself.
    pub(crate) mutated: bool,
    /// The call took references away.
    pub(crate) deleted: bool,
    /// Something that the call wrote expires then.
    pub(crate) expires: Option<SystemTime>,
    /// Files that nothing may need any more.
    pub(crate) freed: Freed,
}

/// Files that no record may need any more.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Blobs; whether another namespace holds them is looked up before they are removed.
    pub(crate) blobs: Vec<Digest>,
    /// Keys of ingests.
    pub(crate) ingests: Vec<String>,
    /// File trees, by snapshotter.
    pub(crate) trees: Vec<(String, TreeId)>,
    /// Mounts of activations.
    pub(crate) activations: Vec<ActivationId>,
}

/// What was written while a collection marks or sweeps.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// A collection is under way.
    pub(crate) up: bool,
    /// Keys of what was written since it began, or since the last sweep looked.
    pub(crate) touched: HashSet<Key>,
}

impl<'t> Read for Transaction<'t> {
    type Table = Table<'t, Bytes, Bytes>;

    fn table(&self) -> &Self::Table {
        &self.table
    }
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(table: Table<'t, Bytes, Bytes>, barrier: &'t mut Barrier) -> Self {
        Self { table, undo: Vec::new(), effects: Effects::default(), barrier, broken: false }
    }

    /// Writes a record.
    pub(crate) fn put<R: Message>(&mut self, key: &Key, record: &R) -> Result<()> {
        let value = record.encode_to_vec();
        let old = self.table.insert(key.as_bytes(), value.as_slice());
        let old = old.map(|old| old.map(|old| old.value().to_vec()));
        let old = old.map_err(|error| self.broken(error))?;
        self.undo.push((key.as_bytes().to_vec(), old));
        self.effects.mutated = true;
        if self.barrier.up && counts(key.kind()) {
            self.barrier.touched.insert(key.clone());
        }
        Ok(())
    }

    /// Removes a record; says whether it was there.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<bool> {
        let old = self.table.remove(key.as_bytes());
        let old = old.map(|old| old.map(|old| old.value().to_vec()));
        let Some(old) = old.map_err(|error| self.broken(error))? else { return Ok(false) };
        self.undo.push((key.as_bytes().to_vec(), Some(old)));
        self.effects.mutated = true;
        Ok(true)
    }

    /// Removes all records below a prefix; returns their keys.
    pub(crate) fn delete_below(&mut self, prefix: &Key) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        self.walk(prefix, None, |key, _| {
            keys.push(Key::from_bytes(key));
            Ok(ControlFlow::Continue(()))
        })?;
        for key in &keys {
            self.delete(key)?;
        }
        Ok(keys)
    }

    /// Gives out the next number of a kind.
    pub(crate) fn next(&mut self, name: &str) -> Result<u64> {
        let key = key::books(name);
        let last = self.get::<Counter>(&key)?.unwrap_or_default().last;
        let counter = Counter { last: last + 1 };
        self.put(&key, &counter)?;
        Ok(counter.last)
    }

    /// Makes a namespace with its first object.
    pub(crate) fn ensure_namespace(&mut self, namespace: &Namespace) -> Result<()> {
        let key = key::namespace(namespace);
        if self.has(&key)? { Ok(()) } else { self.put(&key, &NamespaceRecord::default()) }
    }

    /// Adds a resource to the scope's lease; says whether there is one.
    pub(crate) fn lease(&mut self, scope: &Scope, kind: &str, id: &str) -> Result<bool> {
        let Some(lease) = &scope.lease else { return Ok(false) };
        if !self.has(&key::lease(&scope.namespace, lease))? {
            return Err(Error::not_found("lease does not exist"));
        }
        let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
        self.put(&key::resource(&scope.namespace, lease, &resource), &Mark {})?;
        Ok(true)
    }

    /// Takes a resource out of the scope's lease.
    pub(crate) fn unlease(&mut self, scope: &Scope, kind: &str, id: &str) -> Result<()> {
        if let Some(lease) = &scope.lease {
            let resource = Resource { kind: kind.to_owned(), id: id.to_owned() };
            self.delete(&key::resource(&scope.namespace, lease, &resource))?;
        }
        Ok(())
    }

    /// Has an event published once the transaction is durable.
    pub(crate) fn publish(&mut self, namespace: &Namespace, event: Event) {
        self.effects.events.push((namespace.clone(), event));
    }

    /// Notes that references went away.
    pub(crate) fn deleted(&mut self) {
        self.effects.deleted = true;
    }

    /// Notes when something that was written expires.
    pub(crate) fn expires(&mut self, at: SystemTime) {
        self.effects.expires = Some(self.effects.expires.map_or(at, |before| before.min(at)));
    }

    /// Returns the list of files that nothing may need any more.
    pub(crate) fn freed(&mut self) -> &mut Freed {
        &mut self.effects.freed
    }

    /// Marks the call as part of a collection, which does not call for the next one.
    pub(crate) fn collecting(&mut self) {
        self.effects.mutated = false;
    }

    pub(crate) fn barrier(&mut self) -> &mut Barrier {
        self.barrier
    }

    /// Ends a call: keeps what it wrote, or takes it back. Says whether the transaction is still
    /// whole.
    pub(crate) fn end(&mut self, keep: bool) -> (Effects, bool) {
        let effects = std::mem::take(&mut self.effects);
        let undo = std::mem::take(&mut self.undo);
        if keep && !self.broken {
            return (effects, true);
        }
        for (key, old) in undo.into_iter().rev() {
            let result = match old {
                Some(old) => self.table.insert(key.as_slice(), old.as_slice()).map(drop),
                None => self.table.remove(key.as_slice()).map(drop),
            };
            self.broken |= result.is_err();
        }
        (Effects::default(), !self.broken)
    }

    /// Says whether the calls so far left something to commit.
    pub(crate) fn wrote(&self) -> bool {
        !self.undo.is_empty()
    }

    fn broken(&mut self, error: redb::StorageError) -> Error {
        self.broken = true;
        failed(error)
    }
}

impl LeaseRecord {
    /// Says whether only what the lease names is kept.
    pub(crate) fn is_flat(&self) -> bool {
        self.labels.contains_key(stowd_core::labels::GC_FLAT)
    }
}

/// Kinds of records that keep something alive, or can be collected.
fn counts(kind: u8) -> bool {
    matches!(
        kind,
        kind::LEASE
            | kind::RESOURCE
            | kind::IMAGE
            | kind::INGEST
            | kind::BLOB
            | kind::CONTAINER
            | kind::SANDBOX
            | kind::SNAPSHOT
            | kind::ACTIVATION
    )
}
