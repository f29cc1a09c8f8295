//! The store of sandboxes.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::filters::Filters;
use stowd_core::namespace::check_identifier;
use stowd_core::sandboxes::{Sandbox, Store};
use stowd_core::{Error, Result, Scope};

use crate::database::{Read as _, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::SandboxRecord;

pub(crate) struct Sandboxes(pub(crate) Arc<Inner>);

/// What an update without field paths changes.
const CHANGEABLE: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

#[async_trait]
impl Store for Sandboxes {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Sandbox> {
        let key = key::sandbox(&scope.namespace, id);
        let record: Option<SandboxRecord> = self.0.database.view(|view| view.get(&key))?;
        Ok(record.ok_or_else(|| absent(id))?.sandbox(id.to_owned()))
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Sandbox>> {
        self.0.all(&Key::new(kind::SANDBOX, [scope.namespace.as_str()]), filters, |key, value| {
            let Some([_, id]) = key::parts(key) else { return Ok(None) };
            Ok(Some(decode::<SandboxRecord>(key, value)?.sandbox(id)))
        })
    }

    async fn create(&self, scope: &Scope, mut sandbox: Sandbox) -> Result<Sandbox> {
        check_identifier(&sandbox.id)
            .map_err(|error| error.context("failed to validate sandbox: invalid sandbox ID"))?;
        check_extensions(&sandbox)?;
        fields::tidy(&mut sandbox.labels);
        sandbox.created = SystemTime::now();
        sandbox.updated = sandbox.created;
        let namespace = scope.namespace.clone();
        self.0
            .queue
            .write(move |tx| {
                let key = key::sandbox(&namespace, &sandbox.id);
                if tx.has(&key)? {
                    return Err(Error::already_exists(format_args!(
                        "write error: sandbox bucket {:?} already exists: already exists",
                        sandbox.id
                    )));
                }
                tx.ensure_namespace(&namespace)?;
                tx.put(&key, &SandboxRecord::from_sandbox(&sandbox))?;
                Ok(sandbox)
            })
            .await
    }

    async fn update(
        &self,
        scope: &Scope,
        wanted: Sandbox,
        fieldpaths: &[String],
    ) -> Result<Sandbox> {
        let namespace = scope.namespace.clone();
        let fieldpaths = fieldpaths.to_vec();
        self.0
            .queue
            .write(move |tx| {
                let key = key::sandbox(&namespace, &wanted.id);
                let record: SandboxRecord = tx.get(&key)?.ok_or_else(|| absent(&wanted.id))?;
                let mut sandbox = record.sandbox(wanted.id.clone());
                if fieldpaths.is_empty() {
                    if sandbox.runtime.name != wanted.runtime.name {
                        return Err(Error::invalid("sandbox.Runtime.Name field is immutable"));
                    }
                    for path in CHANGEABLE {
                        change(&mut sandbox, &wanted, path)?;
                    }
                } else {
                    for path in &fieldpaths {
                        change(&mut sandbox, &wanted, path)?;
                    }
                }
                check_extensions(&sandbox)?;
                sandbox.updated = SystemTime::now();
                tx.put(&key, &SandboxRecord::from_sandbox(&sandbox))?;
                // What its old labels referred to may be free now.
                tx.deleted();
                Ok(sandbox)
            })
            .await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        let namespace = scope.namespace.clone();
        let id = id.to_owned();
        self.0
            .queue
            .write(move |tx| {
                if !tx.delete(&key::sandbox(&namespace, &id))? {
                    return Err(Error::not_found(format_args!("failed to delete sandbox {id:?}")));
                }
                tx.deleted();
                Ok(())
            })
            .await
    }
}

fn change(sandbox: &mut Sandbox, wanted: &Sandbox, path: &str) -> Result<()> {
    match path {
        "spec" => sandbox.spec.clone_from(&wanted.spec),
        "runtime" => sandbox.runtime.clone_from(&wanted.runtime),
        "extensions" => sandbox.extensions.clone_from(&wanted.extensions),
        _ => {
            if let Some(name) = path.strip_prefix("extensions.") {
                // As in containerd, one that is not given is kept, but empty.
                let any = wanted.extensions.get(name).cloned().unwrap_or_default();
                sandbox.extensions.insert(name.to_owned(), any);
            } else if !fields::change(&mut sandbox.labels, &wanted.labels, "labels", path) {
                return Err(fields::cannot(path, &format_args!("sandbox {:?}", sandbox.id)));
            }
        }
    }
    Ok(())
}

fn check_extensions(sandbox: &Sandbox) -> Result<()> {
    if sandbox.extensions.keys().any(String::is_empty) {
        return Err(Error::invalid("a sandbox's extension must have a name"));
    }
    Ok(())
}

fn absent(id: &str) -> Error {
    Error::not_found(format_args!("bucket {id:?} not found: not found"))
}
