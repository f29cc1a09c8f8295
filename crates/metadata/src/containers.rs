//! The store of containers.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::containers::{Container, Store};
use stowd_core::events::Event;
use stowd_core::filters::Filters;
use stowd_core::namespace::check_identifier;
use stowd_core::{Error, Namespace, Result, Scope, labels};

use crate::database::{Read as _, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::ContainerRecord;

pub(crate) struct Containers(pub(crate) Arc<Inner>);

/// What an update without field paths changes.
const CHANGEABLE: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

#[async_trait]
impl Store for Containers {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Container> {
        let key = key::container(&scope.namespace, id);
        let record: Option<ContainerRecord> = self.0.database.view(|view| view.get(&key))?;
        Ok(record.ok_or_else(|| absent(&scope.namespace, id))?.container(id.to_owned()))
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Container>> {
        self.0.all(&Key::new(kind::CONTAINER, [scope.namespace.as_str()]), filters, |key, value| {
            let Some([_, id]) = key::parts(key) else { return Ok(None) };
            Ok(Some(decode::<ContainerRecord>(key, value)?.container(id)))
        })
    }

    async fn create(&self, scope: &Scope, mut container: Container) -> Result<Container> {
        check(&container).map_err(|error| error.context("create container failed validation"))?;
        fields::tidy(&mut container.labels);
        container.created = SystemTime::now();
        container.updated = container.created;
        let namespace = scope.namespace.clone();
        self.0
            .queue
            .write(move |tx| {
                let key = key::container(&namespace, &container.id);
                if tx.has(&key)? {
                    return Err(Error::already_exists(format_args!(
                        "container {:?}",
                        container.id
                    )));
                }
                tx.ensure_namespace(&namespace)?;
                tx.put(&key, &ContainerRecord::from_container(&container))?;
                let (id, image) = (container.id.clone(), container.image.clone());
                let runtime = container.runtime.clone();
                tx.publish(&namespace, Event::ContainerCreate { id, image, runtime });
                Ok(container)
            })
            .await
    }

    async fn update(
        &self,
        scope: &Scope,
        wanted: Container,
        fieldpaths: &[String],
    ) -> Result<Container> {
        if wanted.id.is_empty() {
            return Err(Error::invalid("must specify a container id"));
        }
        let namespace = scope.namespace.clone();
        let fieldpaths = fieldpaths.to_vec();
        self.0
            .queue
            .write(move |tx| {
                let key = key::container(&namespace, &wanted.id);
                let record: ContainerRecord =
                    tx.get(&key)?.ok_or_else(|| absent(&namespace, &wanted.id))?;
                let mut container = record.container(wanted.id.clone());
                if fieldpaths.is_empty() {
                    unchanged("Snapshotter", &container.snapshotter, &wanted.snapshotter)?;
                    unchanged("Runtime.Name", &container.runtime.name, &wanted.runtime.name)?;
                    for path in CHANGEABLE {
                        change(&mut container, &wanted, path)?;
                    }
                } else {
                    for path in &fieldpaths {
                        change(&mut container, &wanted, path)?;
                    }
                }
                check(&container).map_err(|error| error.context("update failed validation"))?;
                container.updated = SystemTime::now();
                tx.put(&key, &ContainerRecord::from_container(&container))?;
                // The old snapshot may be free now.
                tx.deleted();
                tx.publish(
                    &namespace,
                    Event::ContainerUpdate {
                        id: container.id.clone(),
                        image: container.image.clone(),
                        labels: container.labels.clone(),
                        snapshot_key: container.snapshot_key.clone(),
                    },
                );
                Ok(container)
            })
            .await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| {
                if !tx.delete(&key::container(&namespace, &id))? {
                    return Err(absent(&namespace, &id));
                }
                tx.deleted();
                tx.publish(&namespace, Event::ContainerDelete { id });
                Ok(())
            })
            .await
    }
}

fn change(container: &mut Container, wanted: &Container, path: &str) -> Result<()> {
    match path {
        "spec" => container.spec.clone_from(&wanted.spec),
        "image" => container.image.clone_from(&wanted.image),
        "snapshotkey" => container.snapshot_key.clone_from(&wanted.snapshot_key),
        "extensions" => container.extensions.clone_from(&wanted.extensions),
        _ => {
            if let Some(name) = path.strip_prefix("extensions.") {
                match wanted.extensions.get(name) {
                    Some(any) => drop(container.extensions.insert(name.to_owned(), any.clone())),
                    None => drop(container.extensions.remove(name)),
                }
            } else if !fields::change(&mut container.labels, &wanted.labels, "labels", path) {
                return Err(fields::cannot(path, &format_args!("{:?}", container.id)));
            }
        }
    }
    Ok(())
}

fn unchanged(field: &str, now: &str, wanted: &str) -> Result<()> {
    if now == wanted {
        return Ok(());
    }
    Err(Error::invalid(format_args!("container.{field} field is immutable")))
}

fn check(container: &Container) -> Result<()> {
    check_identifier(&container.id).map_err(|error| error.context("container.ID"))?;
    if container.extensions.keys().any(String::is_empty) {
        return Err(Error::invalid("container.Extensions keys must not be zero-length"));
    }
    labels::check_all(&container.labels).map_err(|error| error.context("containers.Labels"))?;
    if container.runtime.name.is_empty() {
        return Err(Error::invalid("container.Runtime.Name must be set"));
    }
    if container.spec.is_none() {
        return Err(Error::invalid("container.Spec must be set"));
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return Err(Error::invalid(
            "container.Snapshotter must be set if container.SnapshotKey is set",
        ));
    }
    Ok(())
}

fn absent(namespace: &Namespace, id: &str) -> Error {
    Error::not_found(format_args!("container {id:?} in namespace {:?}", namespace.as_str()))
}
