//! The snapshotters: names, parents and labels over drivers that know trees by number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::events::Event;
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Commit, Driver, Info, Kind, Snapshotter, Snapshotters, TreeId, Usage};
use stowd_core::{Chunks, Error, Labels, Result, Scope, labels};

use crate::collector::expiry;
use crate::database::{Read, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::{Counter, KindRecord, Mark, SnapshotRecord, TreeRecord, nanos};
use crate::transaction::Transaction;

/// The books' entry for the highest number of a tree, of all drivers.
pub(crate) const LAST_TREE: &str = "tree";

/// All snapshotters, by name.
pub(crate) struct All(pub(crate) BTreeMap<String, Arc<Named>>);

/// One driver's snapshots.
pub(crate) struct Named {
    pub(crate) inner: Arc<Inner>,
    pub(crate) driver: Arc<dyn Driver>,
}

impl Snapshotters for All {
    fn snapshotter(&self, name: &str) -> Result<Arc<dyn Snapshotter>> {
        if name.is_empty() {
            return Err(Error::invalid("snapshotter argument missing"));
        }
        match self.0.get(name) {
            Some(found) => Ok(found.clone()),
            None => {
                let there: Vec<&str> = self.0.keys().map(String::as_str).collect();
                Err(Error::invalid(format_args!("snapshotter not loaded: {name}"))
                    .hint(format_args!("this daemon has: {}", there.join(", "))))
            }
        }
    }

    fn capabilities(&self, name: &str) -> &[&'static str] {
        self.0.get(name).map_or(&[], |named| named.driver.capabilities())
    }
}

#[async_trait]
impl Snapshotter for Named {
    async fn stat(&self, scope: &Scope, key: &str) -> Result<Info> {
        let record = self.record(scope, key)?;
        Ok(show(&self.driver, record, key.to_owned()))
    }

    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info> {
        let (namespace, name) = (scope.namespace.clone(), self.name());
        let (driver, fieldpaths) = (self.driver.clone(), fieldpaths.to_vec());
        self.inner
            .queue
            .write(move |tx| {
                let key = key::snapshot(&namespace, &name, &info.name);
                let mut record: SnapshotRecord = tx.get(&key)?.ok_or_else(|| absent(&info.name))?;
                let what = format!("snapshot {:?}", info.name);
                fields::change_only(&mut record.labels, &info.labels, &fieldpaths, &what)?;
                record.updated = nanos(SystemTime::now());
                tx.put(&key, &record)?;
                tx.deleted();
                Ok(show(&driver, record, info.name))
            })
            .await
    }

    async fn usage(&self, scope: &Scope, key: &str) -> Result<Usage> {
        let record = self.record(scope, key)?;
        match record.kind_of() {
            Kind::Active => self.driver.usage(&record.tree()).await,
            Kind::View | Kind::Committed => Ok(record.usage()),
        }
    }

    async fn mounts(&self, scope: &Scope, key: &str) -> Result<Vec<Mount>> {
        let record = self.record(scope, key)?;
        if record.kind_of() == Kind::Committed {
            return Err(Error::failed_precondition(format_args!(
                "failed to get active mount: requested snapshot {key} not active or view"
            ))
            .hint("prepare or view a snapshot on it"));
        }
        self.driver.mounts(&record.tree())
    }

    async fn prepare(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        self.make(scope, Kind::Active, key, parent, labels).await
    }

    async fn view(
        &self,
        scope: &Scope,
        key: &str,
        parent: Option<&str>,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        self.make(scope, Kind::View, key, parent, labels).await
    }

    async fn commit(&self, scope: &Scope, name: &str, key: &str, mut commit: Commit) -> Result<()> {
        if name.is_empty() {
            return Err(Error::invalid("snapshot name must not be empty"));
        }
        labels::check_all(&commit.labels)?;
        fields::tidy(&mut commit.labels);
        let found = self.inner.database.view(|view| {
            if view.has(&self.key(scope, name))? {
                return Err(Error::already_exists(format_args!("snapshot {name:?}")));
            }
            let record: SnapshotRecord =
                view.get(&self.key(scope, key))?.ok_or_else(|| absent(key))?;
            let rebased = self.rebase(view, scope, &record, commit.parent.as_deref())?;
            Ok((record, rebased))
        });
        let (record, _) = match found {
            Err(error) if error.is_already_exists() && scope.lease.is_some() => {
                return Err(self.hold(scope, vec![Some(name.to_owned())], error).await);
            }
            found => found?,
        };
        if record.kind_of() != Kind::Active {
            return Err(Error::failed_precondition(format_args!(
                "failed to commit snapshot {key}: snapshot {key:?} is not active"
            )));
        }
        let usage = self.driver.commit(&record.tree()).await?;
        let named = Self { inner: self.inner.clone(), driver: self.driver.clone() };
        let (scope, name, key) = (scope.clone(), name.to_owned(), key.to_owned());
        self.inner
            .queue
            .write(move |tx| {
                named.record_commit(tx, &scope, &name, &key, record.tree, usage, commit)
            })
            .await
    }

    async fn remove(&self, scope: &Scope, key: &str) -> Result<()> {
        let (scope, snapshotter, name) = (scope.clone(), self.name(), key.to_owned());
        self.inner
            .queue
            .write(move |tx| {
                let namespace = &scope.namespace;
                let record: SnapshotRecord = tx
                    .get(&key::snapshot(namespace, &snapshotter, &name))?
                    .ok_or_else(|| absent(&name))?;
                if tx.any(&key::children(namespace, &snapshotter, &name))? {
                    return Err(Error::failed_precondition("cannot remove snapshot with child"));
                }
                forget(tx, namespace, &snapshotter, &name, &record)?;
                tx.unlease(&scope, &format!("snapshots/{snapshotter}"), &name)?;
                tx.deleted();
                tx.publish(namespace, Event::SnapshotRemove { key: name, snapshotter });
                Ok(())
            })
            .await
    }

    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>> {
        let prefix = Key::new(kind::SNAPSHOT, [scope.namespace.as_str(), self.driver.name()]);
        let driver = self.driver.clone();
        Ok(self.inner.list(prefix, filters, move |key, value| {
            let Some([_, _, name]) = key::parts(key) else { return Ok(None) };
            Ok(Some(show(&driver, decode(key, value)?, name)))
        }))
    }

    async fn cleanup(&self, _scope: &Scope) -> Result<()> {
        for tree in orphans(&self.inner, &self.driver).await? {
            self.driver.remove(tree).await?;
        }
        Ok(())
    }
}

impl Named {
    fn name(&self) -> String {
        self.driver.name().to_owned()
    }

    fn key(&self, scope: &Scope, name: &str) -> Key {
        key::snapshot(&scope.namespace, self.driver.name(), name)
    }

    fn record(&self, scope: &Scope, name: &str) -> Result<SnapshotRecord> {
        let record: Option<SnapshotRecord> =
            self.inner.database.view(|view| view.get(&self.key(scope, name)))?;
        record.ok_or_else(|| absent(name))
    }

    /// Looks a parent up; returns the trees that a child builds on.
    fn chain(&self, read: &impl Read, scope: &Scope, parent: Option<&str>) -> Result<Vec<u64>> {
        let Some(parent) = parent else { return Ok(Vec::new()) };
        let record: SnapshotRecord = read.get(&self.key(scope, parent))?.ok_or_else(|| {
            Error::not_found(format_args!("parent snapshot {parent} does not exist"))
        })?;
        if record.kind_of() != Kind::Committed {
            return Err(Error::invalid(format_args!(
                "failed to create snapshot: parent {parent:?} is not committed snapshot"
            )));
        }
        Ok(record.chain())
    }

    /// Checks a commit's own parent; returns the chain to build on from now on, if it is new.
    fn rebase(
        &self,
        read: &impl Read,
        scope: &Scope,
        record: &SnapshotRecord,
        parent: Option<&str>,
    ) -> Result<Option<Vec<u64>>> {
        let Some(parent) = parent else { return Ok(None) };
        if record.parent.as_deref() == Some(parent) {
            return Ok(None);
        }
        if record.parent.is_some() {
            return Err(Error::invalid(
                "a snapshot with a parent cannot be given another at commit",
            ));
        }
        if !self.driver.capabilities().contains(&"rebase") {
            return Err(Error::not_implemented(format_args!(
                "rebase on the {} snapshotter",
                self.driver.name()
            )));
        }
        self.chain(read, scope, Some(parent)).map(Some)
    }

    async fn make(
        &self,
        scope: &Scope,
        kind: Kind,
        key: &str,
        parent: Option<&str>,
        mut labels: Labels,
    ) -> Result<Vec<Mount>> {
        if key.is_empty() {
            return Err(Error::invalid("snapshot key must not be empty"));
        }
        labels::check_all(&labels)?;
        fields::tidy(&mut labels);
        // A client that unpacks says which name the snapshot is for; when that is there already,
        // the work is done.
        let target = labels.get(labels::SNAPSHOT_REF).cloned();
        let parent = parent.filter(|parent| !parent.is_empty());
        let check = |read: &dyn Fn(&Key) -> Result<bool>| {
            if read(&self.key(scope, key))? {
                return Err(Error::already_exists(format_args!("snapshot {key:?}")));
            }
            match &target {
                Some(target) if read(&self.key(scope, target))? => {
                    Err(Error::already_exists(format_args!("target snapshot {target:?}")))
                }
                _ => Ok(()),
            }
        };
        let found = self.inner.database.view(|view| {
            check(&|key| view.has(key))?;
            self.chain(view, scope, parent)
        });
        let chain = match found {
            Err(error) if error.is_already_exists() && scope.lease.is_some() => {
                return Err(self.hold(scope, vec![target, Some(key.to_owned())], error).await);
            }
            found => found?,
        };
        let making = self.inner.trees.begin();
        let now = nanos(SystemTime::now());
        let record = SnapshotRecord {
            labels,
            created: now,
            updated: now,
            kind: KindRecord::from(kind).into(),
            parent: parent.map(str::to_owned),
            tree: making.id.0,
            parents: chain,
            size: 0,
            inodes: 0,
        };
        let tree = record.tree();
        self.driver.make(&tree).await?;
        let named = Self { inner: self.inner.clone(), driver: self.driver.clone() };
        let (owned, name) = (scope.clone(), key.to_owned());
        let recorded = self
            .inner
            .queue
            .write(move |tx| named.record_new(tx, &owned, name, record, target))
            .await;
        if let Err(error) = recorded {
            if let Err(error) = self.driver.remove(making.id).await {
                tracing::warn!(%error, tree = making.id.0, "a tree without a snapshot stays for now");
            }
            return Err(error);
        }
        self.driver.mounts(&tree)
    }

    /// Adds to the lease the first of `names` that is there, for a caller who is told so and builds
    /// on it: without that it could be collected under its hands. Returns the error to answer with.
    async fn hold(&self, scope: &Scope, names: Vec<Option<String>>, error: Error) -> Error {
        let (scope, snapshotter) = (scope.clone(), self.name());
        let held = self.inner.queue.write(move |tx| {
            for name in names.into_iter().flatten() {
                if tx.has(&key::snapshot(&scope.namespace, &snapshotter, &name))? {
                    tx.lease(&scope, &format!("snapshots/{snapshotter}"), &name)?;
                    return Ok(true);
                }
            }
            Ok(false)
        });
        match held.await {
            Ok(true) => error,
            Ok(false) => Error::aborted("the snapshot was removed meanwhile").hint("try again"),
            Err(error) => error,
        }
    }

    fn record_new(
        &self,
        tx: &mut Transaction<'_>,
        scope: &Scope,
        name: String,
        record: SnapshotRecord,
        target: Option<String>,
    ) -> Result<()> {
        let key = self.key(scope, &name);
        if tx.has(&key)? {
            return Err(Error::already_exists(format_args!("snapshot {name:?}")));
        }
        if let Some(target) = target
            && tx.has(&self.key(scope, &target))?
        {
            return Err(Error::already_exists(format_args!("target snapshot {target:?}")));
        }
        // The parent may have been removed while the tree was made, or be another of that name.
        if self.chain(tx, scope, record.parent.as_deref())? != record.parents {
            return Err(Error::aborted("the parent snapshot changed meanwhile"));
        }
        tx.ensure_namespace(&scope.namespace)?;
        let counter: Counter = tx.get(&key::books(LAST_TREE))?.unwrap_or_default();
        if record.tree > counter.last {
            tx.put(&key::books(LAST_TREE), &Counter { last: record.tree })?;
        }
        self.put(tx, scope, &name, &record)?;
        // Nobody is told of views, as in containerd.
        if record.kind_of() == Kind::Active {
            let parent = record.parent.unwrap_or_default();
            let event = Event::SnapshotPrepare { key: name, parent, snapshotter: self.name() };
            tx.publish(&scope.namespace, event);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what a commit is made of")]
    fn record_commit(
        &self,
        tx: &mut Transaction<'_>,
        scope: &Scope,
        name: &str,
        key: &str,
        tree: u64,
        usage: Usage,
        commit: Commit,
    ) -> Result<()> {
        if tx.has(&self.key(scope, name))? {
            return Err(Error::already_exists(format_args!("snapshot {name:?}")));
        }
        let mut record: SnapshotRecord =
            tx.get(&self.key(scope, key))?.ok_or_else(|| absent(key))?;
        if record.tree != tree || record.kind_of() != Kind::Active {
            return Err(Error::failed_precondition(format_args!(
                "snapshot {key:?} changed while it was committed"
            )));
        }
        let chain = self.rebase(tx, scope, &record, commit.parent.as_deref())?;
        forget_name(tx, &scope.namespace, self.driver.name(), key, &record)?;
        if let Some(chain) = chain {
            record.parents = chain;
            record.parent = commit.parent;
        }
        let now = nanos(SystemTime::now());
        record.labels = commit.labels;
        record.kind = KindRecord::Committed.into();
        record.created = now;
        record.updated = now;
        record.size = usage.size;
        record.inodes = usage.inodes;
        self.put(tx, scope, name, &record)?;
        tx.unlease(scope, &format!("snapshots/{}", self.driver.name()), key)?;
        let (key, name) = (key.to_owned(), name.to_owned());
        tx.publish(&scope.namespace, Event::SnapshotCommit { key, name, snapshotter: self.name() });
        Ok(())
    }

    /// Writes a snapshot and all that goes with it.
    fn put(
        &self,
        tx: &mut Transaction<'_>,
        scope: &Scope,
        name: &str,
        record: &SnapshotRecord,
    ) -> Result<()> {
        let snapshotter = self.driver.name();
        tx.put(&self.key(scope, name), record)?;
        if let Some(parent) = &record.parent {
            tx.put(&key::child(&scope.namespace, snapshotter, parent, name), &Mark {})?;
        }
        let owner =
            TreeRecord { namespace: scope.namespace.as_str().to_owned(), name: name.to_owned() };
        tx.put(&key::tree(snapshotter, TreeId(record.tree)), &owner)?;
        tx.lease(scope, &format!("snapshots/{snapshotter}"), name)?;
        if let Some(at) = expiry(&record.labels) {
            tx.expires(at);
        }
        Ok(())
    }
}

/// Removes a snapshot's records and gives its tree up.
pub(crate) fn forget(
    tx: &mut Transaction<'_>,
    namespace: &stowd_core::Namespace,
    snapshotter: &str,
    name: &str,
    record: &SnapshotRecord,
) -> Result<()> {
    forget_name(tx, namespace, snapshotter, name, record)?;
    let tree = TreeId(record.tree);
    tx.delete(&key::tree(snapshotter, tree))?;
    tx.freed().trees.push((snapshotter.to_owned(), tree));
    Ok(())
}

fn forget_name(
    tx: &mut Transaction<'_>,
    namespace: &stowd_core::Namespace,
    snapshotter: &str,
    name: &str,
    record: &SnapshotRecord,
) -> Result<()> {
    tx.delete(&key::snapshot(namespace, snapshotter, name))?;
    if let Some(parent) = &record.parent {
        tx.delete(&key::child(namespace, snapshotter, parent, name))?;
    }
    Ok(())
}

/// Lists the trees on disk that no snapshot has and nobody is making.
pub(crate) async fn orphans(inner: &Inner, driver: &Arc<dyn Driver>) -> Result<Vec<TreeId>> {
    // In this order: a tree is no longer in work only when it is recorded or removed.
    let on_disk = driver.list().await?;
    let making = inner.trees.in_work();
    inner.database.view(|view| {
        let mut orphans = Vec::new();
        for tree in on_disk {
            if !making.contains(&tree) && !view.has(&key::tree(driver.name(), tree))? {
                orphans.push(tree);
            }
        }
        Ok(orphans)
    })
}

fn show(driver: &Arc<dyn Driver>, record: SnapshotRecord, name: String) -> Info {
    let own = driver.labels(TreeId(record.tree));
    let mut info = record.info(name);
    info.labels.extend(own);
    info
}

fn absent(name: &str) -> Error {
    Error::not_found(format_args!("snapshot {name} does not exist"))
}
