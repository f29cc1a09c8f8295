//! The store of namespaces.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::events::Event;
use stowd_core::namespaces::Store;
use stowd_core::{Error, Labels, Namespace, Result, Scope, labels};

use crate::content::end_ingest;
use crate::database::{Read, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::NamespaceRecord;
use crate::transaction::Transaction;

pub(crate) struct Namespaces(pub(crate) Arc<Inner>);

#[async_trait]
impl Store for Namespaces {
    async fn get(&self, name: &Namespace) -> Result<Labels> {
        let record: Option<NamespaceRecord> =
            self.0.database.view(|view| view.get(&key::namespace(name)))?;
        Ok(record.map(|record| record.labels).unwrap_or_default())
    }

    async fn list(&self) -> Result<Vec<(Namespace, Labels)>> {
        let mut found = Vec::new();
        self.0.database.view(|view| {
            view.walk(&Key::new::<0>(kind::NAMESPACE, []), None, |key, value| {
                if let Some([name]) = key::parts(key)
                    && let Ok(name) = Namespace::new(name)
                {
                    found.push((name, decode::<NamespaceRecord>(key, value)?.labels));
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(found)
    }

    async fn create(&self, name: &Namespace, labels: Labels) -> Result<()> {
        labels::check_all(&labels)?;
        let name = name.clone();
        self.0
            .queue
            .write(move |tx| {
                let key = key::namespace(&name);
                if tx.has(&key)? {
                    return Err(Error::already_exists(format_args!(
                        "namespace {:?}",
                        name.as_str()
                    )));
                }
                tx.put(&key, &NamespaceRecord { labels: labels.clone() })?;
                let event = Event::NamespaceCreate { name: name.as_str().to_owned(), labels };
                tx.publish(&name, event);
                Ok(())
            })
            .await
    }

    async fn update(
        &self,
        name: &Namespace,
        wanted: Labels,
        fieldpaths: &[String],
    ) -> Result<Labels> {
        let name = name.clone();
        let fieldpaths = fieldpaths.to_vec();
        self.0
            .queue
            .write(move |tx| {
                let key = key::namespace(&name);
                let mut record: NamespaceRecord = tx.get(&key)?.ok_or_else(|| absent(&name))?;
                let what = format!("namespace {:?}", name.as_str());
                fields::change_only(&mut record.labels, &wanted, &fieldpaths, &what)?;
                tx.put(&key, &record)?;
                let labels = record.labels.clone();
                let event = Event::NamespaceUpdate { name: name.as_str().to_owned(), labels };
                tx.publish(&name, event);
                Ok(record.labels)
            })
            .await
    }

    async fn delete(&self, name: &Namespace) -> Result<()> {
        let name = name.clone();
        self.0
            .queue
            .write(move |tx| {
                let key = key::namespace(&name);
                if !tx.has(&key)? {
                    return Err(absent(&name));
                }
                let held = held(tx, &name)?;
                if !held.is_empty() {
                    return Err(Error::failed_precondition(format_args!(
                        "namespace {:?} must be empty, but it still has {}",
                        name.as_str(),
                        held.join(", ")
                    )));
                }
                // Records of sandboxes do not keep a namespace, as in containerd.
                for below in [kind::LEASE, kind::RESOURCE, kind::SANDBOX] {
                    tx.delete_below(&Key::new(below, [name.as_str()]))?;
                }
                end_ingests(tx, &name)?;
                tx.delete(&key)?;
                tx.publish(&name, Event::NamespaceDelete { name: name.as_str().to_owned() });
                Ok(())
            })
            .await
    }
}

/// Removes a namespace's ingests, with what they hold on disk.
fn end_ingests(tx: &mut Transaction<'_>, name: &Namespace) -> Result<()> {
    let mut references: Vec<String> = Vec::new();
    tx.walk(&Key::new(kind::INGEST, [name.as_str()]), None, |key, _| {
        references.extend(key::parts(key).map(|[_, reference]: [String; 2]| reference));
        Ok(ControlFlow::Continue(()))
    })?;
    let scope = Scope::new(name.clone());
    for reference in references {
        if let Some(ingest) = end_ingest(tx, &scope, &reference)?
            && ingest.shared.is_none()
        {
            tx.freed().ingests.push(ingest.key);
        }
    }
    Ok(())
}

/// Names the kinds of objects that a namespace holds, in containerd's words.
fn held(read: &impl Read, name: &Namespace) -> Result<Vec<String>> {
    let mut held = Vec::new();
    for (kind, word) in
        [(kind::IMAGE, "images"), (kind::BLOB, "blobs"), (kind::CONTAINER, "containers")]
    {
        if read.any(&Key::new(kind, [name.as_str()]))? {
            held.push(word.to_owned());
        }
    }
    let mut last = String::new();
    read.walk(&Key::new(kind::SNAPSHOT, [name.as_str()]), None, |key, _| {
        if let Some([_, snapshotter, _]) = key::parts(key)
            && snapshotter != last
        {
            held.push(format!("snapshots on {snapshotter:?} snapshotter"));
            last = snapshotter;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(held)
}

fn absent(name: &Namespace) -> Error {
    Error::not_found(format_args!("namespace {:?}", name.as_str()))
}
