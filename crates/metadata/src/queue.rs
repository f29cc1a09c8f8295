//! The queue of writing calls, and the thread that commits them together.
//!
//! A call is a closure over a [`Transaction`]. The thread runs the first that comes and all that
//! queued up meanwhile in one database transaction and makes it durable with one flush; during
//! the flush the next ones queue up. A call that fails is taken back alone. Each caller gets its
//! answer after the flush, and events go out after the flush in the order of the calls.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use stowd_core::events::Publisher;
use stowd_core::{Error, Result};
use tokio::sync::oneshot;

use crate::database::{Database, RECORDS, closed, failed};
use crate::transaction::{Barrier, Effects, Transaction};

/// The most calls that share a flush; the first of them would wait too long for more.
const BATCH: usize = 256;

/// Sends calls to the thread.
pub(crate) struct Queue {
    sender: Sender<Message>,
}

/// Hears what commits did, apart from events.
pub(crate) trait Observer: Send + Sync {
    /// Called on the writing thread after each durable call that wrote something.
    fn committed(&self, effects: Effects);
}

enum Message {
    Call(Box<dyn Call>),
    Stop(oneshot::Sender<()>),
}

/// A closure with its caller.
trait Call: Send {
    /// Runs the closure; says whether it succeeded.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool;
    /// Answers the caller.
    fn answer(self: Box<Self>, outcome: Outcome<'_>);
}

#[derive(Clone, Copy)]
enum Outcome<'a> {
    Durable,
    Failed(&'a Error),
}

struct Caller<T, F> {
    call: Option<F>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl Queue {
    /// Starts the thread.
    pub(crate) fn start(
        database: Arc<Database>,
        publisher: Arc<dyn Publisher>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self> {
        let (sender, receiver) = channel();
        let mut writer = Writer { database, publisher, observer, barrier: Barrier::default() };
        std::thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || writer.work(&receiver))
            .map_err(|error| Error::io("start the metadata thread", &error))?;
        Ok(Self { sender })
    }

    /// Runs a closure over a write transaction and returns once its writes are durable.
    pub(crate) async fn write<T, F>(&self, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { call: Some(call), result: None, reply };
        self.sender.send(Message::Call(Box::new(caller))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Lets the calls that are queued finish, then closes the file.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.sender.send(Message::Stop(reply)).is_ok() {
            let _ = answer.await;
        }
    }
}

struct Writer {
    database: Arc<Database>,
    publisher: Arc<dyn Publisher>,
    observer: Arc<dyn Observer>,
    barrier: Barrier,
}

impl Writer {
    fn work(&mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            let stop = match message {
                Message::Call(first) => self.batch(first, receiver),
                Message::Stop(reply) => Some(reply),
            };
            if let Some(reply) = stop {
                self.database.close();
                let _ = reply.send(());
                return;
            }
        }
        self.database.close();
    }

    /// Runs and commits calls; returns what asked the thread to stop meanwhile.
    fn batch(
        &mut self,
        first: Box<dyn Call>,
        receiver: &Receiver<Message>,
    ) -> Option<oneshot::Sender<()>> {
        let mut calls = Vec::new();
        let mut stop = None;
        let barrier = &mut self.barrier;
        let database = self.database.clone();
        let result = database.with(|database| {
            let transaction = database.begin_write().map_err(failed)?;
            let table = transaction.open_table(RECORDS).map_err(failed)?;
            let mut view = Transaction::new(table, barrier);
            let mut next = Some(first);
            let mut whole = true;
            let mut wrote = false;
            while let Some(mut call) = next.take() {
                let keep = call.run(&mut view);
                wrote |= keep && view.wrote();
                let (effects, intact) = view.end(keep);
                calls.push((call, keep, effects));
                whole = intact;
                if !whole || calls.len() == BATCH {
                    break;
                }
                match receiver.try_recv() {
                    Ok(Message::Call(call)) => next = Some(call),
                    Ok(Message::Stop(reply)) => stop = Some(reply),
                    Err(_) => {}
                }
            }
            drop(view);
            if !whole {
                transaction.abort().map_err(failed)?;
                return Err(Error::internal("the metadata transaction was given up"));
            }
            if wrote {
                transaction.commit().map_err(failed)
            } else {
                transaction.abort().map_err(failed)
            }
        });
        match result {
            Ok(()) => self.succeed(calls),
            Err(error) => self.fail(calls, &error),
        }
        stop
    }

    fn succeed(&self, calls: Vec<(Box<dyn Call>, bool, Effects)>) {
        let mut answered = Vec::with_capacity(calls.len());
        for (call, _, mut effects) in calls {
            for (namespace, event) in effects.events.drain(..) {
                self.publisher.publish(&namespace, event);
            }
            self.observer.committed(effects);
            answered.push(call);
        }
        for call in answered {
            call.answer(Outcome::Durable);
        }
    }

    fn fail(&self, calls: Vec<(Box<dyn Call>, bool, Effects)>, error: &Error) {
        tracing::error!(%error, "the metadata database failed; opening it again");
        // Before the callers hear of it: what they ask next must find a database.
        if let Err(error) = self.database.reopen() {
            tracing::error!(%error, "the metadata database cannot be opened again");
        }
        for (call, _, _) in calls {
            call.answer(Outcome::Failed(error));
        }
    }
}

impl<T, F> Call for Caller<T, F>
where
    T: Send,
    F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> bool {
        let result = self.call.take().map(|call| call(transaction));
        let succeeded = matches!(result, Some(Ok(_)));
        self.result = result;
        succeeded
    }

    fn answer(self: Box<Self>, outcome: Outcome<'_>) {
        let result = match (outcome, self.result) {
            (Outcome::Durable, Some(result)) => result,
            // The closure's own error says more than that of the flush.
            (Outcome::Failed(_), Some(Err(error))) => Err(error),
            (Outcome::Failed(error), _) => Err(copy(error)),
            (Outcome::Durable, None) => Err(closed()),
        };
        // The caller may have gone away.
        let _ = self.reply.send(result);
    }
}

fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}
