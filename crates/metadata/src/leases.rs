//! The store of leases.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::leases::{Lease, Resource, Store};
use stowd_core::{Digest, Error, Labels, Namespace, Result, Scope, labels};

use crate::activations::MOUNTS;
use crate::collector::expiry;
use crate::database::{Read as _, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::{LeaseRecord, Mark, nanos};
use crate::transaction::Transaction;

pub(crate) struct Leases(pub(crate) Arc<Inner>);

#[async_trait]
impl Store for Leases {
    async fn create(&self, scope: &Scope, id: &str, mut labels: Labels) -> Result<Lease> {
        if id.is_empty() {
            return Err(Error::invalid("lease id must be provided"));
        }
        labels::check_all(&labels)?;
        fields::tidy(&mut labels);
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| {
                let key = key::lease(&namespace, &id);
                if tx.has(&key)? {
                    return Err(Error::already_exists(format_args!("lease {id:?}")));
                }
                tx.ensure_namespace(&namespace)?;
                if let Some(at) = expiry(&labels) {
                    tx.expires(at);
                }
                let record = LeaseRecord { labels, created: nanos(SystemTime::now()) };
                tx.put(&key, &record)?;
                Ok(record.lease(id))
            })
            .await
    }

    async fn delete(&self, scope: &Scope, id: &str, collect: Collect) -> Result<()> {
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| remove(tx, &namespace, &id)?.then_some(()).ok_or_else(|| absent(&id)))
            .await?;
        match collect {
            Collect::Later => Ok(()),
            Collect::BeforeReturn => self.0.collector.collect().await.map(drop),
        }
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Lease>> {
        self.0.all(&Key::new(kind::LEASE, [scope.namespace.as_str()]), filters, |key, value| {
            let Some([_, id]) = key::parts(key) else { return Ok(None) };
            Ok(Some(decode::<LeaseRecord>(key, value)?.lease(id)))
        })
    }

    async fn add_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()> {
        check(&resource)?;
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| {
                if !tx.has(&key::lease(&namespace, &id))? {
                    return Err(absent(&id));
                }
                tx.put(&key::resource(&namespace, &id, &resource), &Mark {})
            })
            .await
    }

    async fn delete_resource(&self, scope: &Scope, id: &str, resource: Resource) -> Result<()> {
        check(&resource)?;
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| {
                if !tx.has(&key::lease(&namespace, &id))? {
                    return Err(absent(&id));
                }
                if tx.delete(&key::resource(&namespace, &id, &resource))? {
                    tx.deleted();
                }
                Ok(())
            })
            .await
    }

    async fn resources(&self, scope: &Scope, id: &str) -> Result<Vec<Resource>> {
        self.0.database.view(|view| {
            if !view.has(&key::lease(&scope.namespace, id))? {
                return Err(absent(id));
            }
            let mut resources = Vec::new();
            let prefix = Key::new(kind::RESOURCE, [scope.namespace.as_str(), id]);
            view.walk(&prefix, None, |key, _| {
                // As in containerd, a lease keeps the mounts made under it and does not tell of them.
                if let Some([_, _, kind, id]) = key::parts(key)
                    && kind != MOUNTS
                {
                    resources.push(Resource { kind, id });
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
            Ok(resources)
        })
    }
}

/// Removes a lease with its list; says whether it was there.
pub(crate) fn remove(tx: &mut Transaction<'_>, namespace: &Namespace, id: &str) -> Result<bool> {
    if !tx.delete(&key::lease(namespace, id))? {
        return Ok(false);
    }
    tx.delete_below(&Key::new(kind::RESOURCE, [namespace.as_str(), id]))?;
    tx.deleted();
    Ok(true)
}

/// Checks that a lease can hold such a resource.
fn check(resource: &Resource) -> Result<()> {
    let (kind, rest) = match resource.kind.split_once('/') {
        Some((kind, rest)) => (kind, Some(rest)),
        None => (resource.kind.as_str(), None),
    };
    let wrong = || Error::invalid(format_args!("invalid resource type {:?}", resource.kind));
    match (kind, rest) {
        ("content", None) => resource.id.parse::<Digest>().map(drop),
        ("ingests" | "images", None) => Ok(()),
        ("snapshots", Some(snapshotter))
            if !snapshotter.is_empty() && !snapshotter.contains('/') =>
        {
            Ok(())
        }
        ("content" | "ingests" | "images" | "snapshots", _) => Err(wrong()),
        _ => Err(Error::not_implemented(format_args!(
            "resource type {:?} of a lease",
            resource.kind
        ))),
    }?;
    if resource.id.is_empty() {
        return Err(Error::invalid("resource id must not be empty"));
    }
    Ok(())
}

fn absent(id: &str) -> Error {
    Error::not_found(format_args!("lease {id:?}"))
}
