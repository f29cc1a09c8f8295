//! Tasks in sandboxes: which shim they are made in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use stowd_core::tasks::Create;
use stowd_core::{Error, Result, Scope};

use crate::address::Bootstrap;
use crate::manager::Inner;
use crate::shim::Shim;
use crate::spec::Spec;
use crate::start::blocking;
use crate::task::Task;

/// The file in a task's bundle that names its sandbox.
pub(crate) const SANDBOX: &str = "sandbox";

/// The first version of the task service whose shims keep sandboxes. Older ones may keep several
/// containers, but are started for each.
const SANDBOXES_SINCE: i32 = 3;

/// Where a sandbox's tasks are made.
pub(crate) struct Place {
    bootstrap: Bootstrap,
    /// Its shim, where that is ours.
    shim: Option<Arc<Shim>>,
    program: Option<PathBuf>,
}

impl Inner {
    /// Finds the place of a container's sandbox; nothing where its task gets a shim as any other:
    /// without a sandbox, without a record of it, or with a shim that keeps none.
    pub(crate) async fn place(
        &self,
        scope: &Scope,
        sandbox_id: &str,
        create: &Create,
    ) -> Result<Option<Place>> {
        if sandbox_id.is_empty() {
            return Ok(None);
        }
        match self.sandboxes.get(scope, sandbox_id).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        }
        let place = if create.sandbox_address.is_empty() {
            let missing = || {
                Error::not_found(format_args!("can't find shim for sandbox {sandbox_id}"))
                    .hint("the sandbox is on record but does not run: create and start it first")
            };
            let sandbox = self.find(&scope.namespace, sandbox_id).ok_or_else(missing)?;
            let program = sandbox.program.get().cloned();
            let (_, shim) =
                self.used(sandbox).await.map_err(|error| match error.is_not_found() {
                    true => missing(),
                    false => error,
                })?;
            Place { bootstrap: shim.bootstrap.clone(), shim: Some(shim), program }
        } else {
            Place { bootstrap: bootstrap(create)?, shim: None, program: None }
        };
        Ok(Some(place).filter(|place| place.bootstrap.version >= SANDBOXES_SINCE))
    }

    /// Makes a task's bundle and gives the task its sandbox's shim.
    pub(crate) async fn join_sandbox(
        self: &Arc<Self>,
        task: &Arc<Task>,
        json: Bytes,
        sandbox_id: &str,
        place: Place,
    ) -> Result<Arc<Shim>> {
        let spec = Spec::read(&json)?;
        if let Some(program) = place.program {
            let _ = task.program.set(program);
        }
        let (bundle, name) = (task.bundle.clone(), sandbox_id.to_owned());
        blocking(move || {
            bundle.make(&json, &spec)?;
            bundle.write(SANDBOX, name.as_bytes(), 0o600)
        })
        .await?;
        let lock = self.group(Path::new(&place.bootstrap.address));
        let _lock = lock.lock().await;
        let known = place.shim.or_else(|| self.known(&place.bootstrap.address));
        if let Some(shim) = known {
            if shim.join(task) {
                task.set_shim(shim.clone());
                return Ok(shim);
            }
            if !shim.is_guest() {
                let ends = format_args!("the shim of sandbox {sandbox_id} is ending");
                return Err(Error::unavailable(ends));
            }
        }
        let stream = place.bootstrap.connect().await?;
        let shim = Shim::new(place.bootstrap, stream, &task.namespace);
        shim.set_guest();
        self.adopt(task, shim)
    }
}

/// Reads where a client says that a sandbox's tasks are made.
fn bootstrap(create: &Create) -> Result<Bootstrap> {
    let address = &create.sandbox_address;
    let (protocol, rest) = address.split_once('+').ok_or_else(|| {
        Error::invalid(format_args!(
            "sandbox address {address:?} must be of the form <protocol>+<scheme>://<path>, \
             for instance ttrpc+unix:///run/x.sock"
        ))
    })?;
    Ok(Bootstrap {
        version: i32::try_from(create.sandbox_version).unwrap_or(i32::MAX),
        address: rest.to_owned(),
        protocol: protocol.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_protocol() {
        let create = |address: &str| Create {
            sandbox_address: address.to_owned(),
            sandbox_version: 3,
            ..Create::default()
        };
        let read = bootstrap(&create("ttrpc+unix:///run/s")).unwrap();
        assert_eq!(read, Bootstrap::own(Path::new("/run/s")));
        assert!(bootstrap(&create("unix:///run/s")).is_err());
    }
}
