//! What a run has made and has to take away again, however it ends.

use std::path::PathBuf;
use std::time::Duration;

use stowd_client::{Client, Container, Task};
use stowd_core::Result;

use crate::context::Context;
use crate::printer::Printer;

/// How long cleaning up may take when the program has to end at once.
const HASTE: Duration = Duration::from_secs(10);

/// A task, and perhaps its container, that go with the command. Dropped before [`remove`](Self::remove)
/// has come to its end (as when `--timeout` is over), it removes them all the same.
pub(crate) struct Leftovers<'a> {
    printer: &'a Printer,
    address: PathBuf,
    namespace: String,
    id: String,
    container: Option<Container>,
    task: Option<Task>,
}

impl<'a> Leftovers<'a> {
    /// Makes a list with nothing on it.
    pub(crate) fn new(at: &'a Context, client: &Client, id: &str) -> Self {
        Self {
            printer: &at.printer,
            address: at.address().to_owned(),
            namespace: client.namespace().to_owned(),
            id: id.to_owned(),
            container: None,
            task: None,
        }
    }

    pub(crate) fn add_container(&mut self, container: &Container) {
        self.container = Some(container.clone());
    }

    pub(crate) fn add_task(&mut self, task: &Task) {
        self.task = Some(task.clone());
    }

    pub(crate) fn forget_task(&mut self) {
        self.task = None;
    }

    /// Leaves everything as it is.
    pub(crate) fn keep(mut self) {
        self.task = None;
        self.container = None;
    }

    /// Removes what there is: kills and deletes the task, deletes the container and its snapshot.
    pub(crate) async fn remove(mut self) {
        if let Some(task) = self.task.clone() {
            match task.kill_and_delete().await {
                Err(error) if !error.is_not_found() => {
                    self.printer.note(format_args!("failed to cleanup task: {error}"));
                }
                _ => {}
            }
            self.task = None;
        }
        if let Some(container) = self.container.clone() {
            match container.remove().await {
                Err(error) if !error.is_not_found() => {
                    self.printer.note(format_args!("failed to cleanup container: {error}"));
                }
                _ => {}
            }
            self.container = None;
        }
    }
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        if self.task.is_none() && self.container.is_none() {
            return;
        }
        let (address, namespace) = (self.address.clone(), self.namespace.clone());
        let id = self.id.clone();
        let what = if self.container.is_some() { What::Container } else { What::Task };
        // The command's own runtime waits for this drop, so it takes another one.
        let removing = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| stowd_core::Error::io("start the runtime", &error))?;
            runtime.block_on(async {
                let removing = remove_by_name(address, &namespace, &id, what);
                tokio::time::timeout(HASTE, removing).await.unwrap_or_else(|_| {
                    Err(stowd_core::Error::deadline_exceeded("the daemon does not answer"))
                })
            })
        });
        if let Ok(Err(error)) = removing.join() {
            self.printer.note(format_args!("failed to cleanup {}: {error}", self.id));
        }
    }
}

/// What goes.
enum What {
    Task,
    /// The task, and then the container and its snapshot.
    Container,
}

async fn remove_by_name(address: PathBuf, namespace: &str, id: &str, what: What) -> Result<()> {
    let container = Client::connect(address, namespace).await?.container(id).await?;
    match container.task().await {
        Ok(task) => {
            task.kill_and_delete().await?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    match what {
        What::Task => Ok(()),
        What::Container => container.remove().await,
    }
}
