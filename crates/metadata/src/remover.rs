//! Removes from disk what no record needs any more, after the commit that said so.

use std::sync::{Arc, Weak};

use stowd_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::activations;
use crate::database::Read as _;
use crate::inner::Inner;
use crate::key;
use crate::transaction::Freed;

/// Sends work to the remover.
#[derive(Clone)]
pub(crate) struct Remover(mpsc::UnboundedSender<Message>);

/// The other end, for [`run`].
pub(crate) type Work = mpsc::UnboundedReceiver<Message>;

pub(crate) enum Message {
    Freed(Freed),
    /// Answered with the number of files removed since the last answer, once all before is done.
    Done(oneshot::Sender<u64>),
}

impl Remover {
    pub(crate) fn new() -> (Self, Work) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Has files removed some time soon.
    pub(crate) fn remove(&self, freed: Freed) {
        let Freed { blobs, ingests, trees, activations } = &freed;
        let nothing =
            blobs.is_empty() && ingests.is_empty() && trees.is_empty() && activations.is_empty();
        if !nothing {
            // Without a remover the next start finds them.
            let _ = self.0.send(Message::Freed(freed));
        }
    }

    /// Returns once all that was handed over before is removed; says how much that was.
    pub(crate) async fn settle(&self) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::unavailable("the metadata database is closed");
        self.0.send(Message::Done(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// Does the work until the stores are gone.
pub(crate) async fn run(inner: Weak<Inner>, mut work: Work) {
    let mut removed = 0;
    while let Some(message) = work.recv().await {
        match message {
            Message::Freed(freed) => {
                let Some(inner) = inner.upgrade() else { return };
                removed += remove(&inner, freed).await;
            }
            Message::Done(reply) => {
                let _ = reply.send(std::mem::take(&mut removed));
            }
        }
    }
}

async fn remove(inner: &Arc<Inner>, freed: Freed) -> u64 {
    let mut removed = 0;
    let mut count =
        |what: &str, name: &(dyn std::fmt::Display + Sync), result: Result<()>| match result {
            Ok(()) => removed += 1,
            Err(error) if error.is_not_found() => {}
            // After the shutdown.
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            // What stays is found again at the next start.
            Err(error) => tracing::warn!(%error, what, %name, "cannot remove what nothing needs"),
        };
    for digest in freed.blobs {
        let _bytes = inner.bytes.remove(&digest).await;
        match inner.database.view(|view| view.any(&key::holders(&digest))) {
            Ok(true) => {}
            Ok(false) => count("blob", &digest, inner.blobs.remove(&digest).await),
            Err(error) => count("blob", &digest, Err(error)),
        }
    }
    for key in freed.ingests {
        count("ingest", &key, inner.blobs.abort(&key).await);
    }
    for (snapshotter, tree) in freed.trees {
        if let Some(driver) = inner.drivers.get(&snapshotter) {
            count("tree", &tree.0, driver.remove(tree).await);
        }
    }
    for id in freed.activations {
        count("mounts of an activation", &id.0, activations::undo(inner, id).await);
    }
    removed
}
