//! The event exchange: hands every published event to every subscriber whose filters it passes.
//!
//! Publishing never waits. Each subscriber has a queue of its own; one that falls
//! [`QUEUE`] events behind is cut off with an error, so that it knows that it missed something and
//! lists again, and so that it cannot hold the daemon's memory.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use async_trait::async_trait;
use futures_core::Stream;
use stowd_core::events::{self, Envelope, Envelopes, Event};
use stowd_core::filters::Filters;
use stowd_core::namespace::check_identifier;
use stowd_core::{Error, ErrorKind, Namespace, Result};
use tokio::sync::mpsc;

/// How many events a subscriber may fall behind.
pub const QUEUE: usize = 16 * 1024;

/// The exchange. Its order of delivery is the order of publication, for each subscriber.
#[derive(Default)]
pub struct Exchange {
    subscribers: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    filters: Filters,
    queue: mpsc::Sender<Envelope>,
    fell_behind: Arc<AtomicBool>,
}

struct Subscription {
    queue: mpsc::Receiver<Envelope>,
    fell_behind: Arc<AtomicBool>,
}

impl Exchange {
    /// Makes an exchange without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    fn deliver(&self, envelope: &Envelope) {
        // A panic while delivering leaves the list as it was: the lock stays usable.
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| {
            if !subscriber.filters.matches(envelope) {
                return !subscriber.queue.is_closed();
            }
            match subscriber.queue.try_send(envelope.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    subscriber.fell_behind.store(true, Ordering::Release);
                    false
                }
            }
        });
    }
}

impl events::Publisher for Exchange {
    fn publish(&self, namespace: &Namespace, event: Event) {
        if let Some(topic) = event.topic() {
            self.deliver(&Envelope {
                timestamp: SystemTime::now(),
                namespace: namespace.clone(),
                topic: topic.to_owned(),
                event,
            });
        }
    }
}

#[async_trait]
impl events::Exchange for Exchange {
    async fn publish(&self, namespace: &Namespace, topic: &str, event: Event) -> Result<()> {
        check_topic(topic)?;
        self.deliver(&Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event,
        });
        Ok(())
    }

    async fn forward(&self, envelope: Envelope) -> Result<()> {
        check_topic(&envelope.topic)?;
        self.deliver(&envelope);
        Ok(())
    }

    async fn subscribe(&self, filters: Filters) -> Result<Envelopes> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let fell_behind = Arc::new(AtomicBool::new(false));
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(Subscriber {
            filters,
            queue: sender,
            fell_behind: fell_behind.clone(),
        });
        Ok(Box::pin(Subscription { queue, fell_behind }))
    }
}

impl Stream for Subscription {
    type Item = Result<Envelope>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.queue.poll_recv(cx) {
            Poll::Ready(None) if self.fell_behind.swap(false, Ordering::AcqRel) => {
                Poll::Ready(Some(Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format_args!("subscriber fell {QUEUE} events behind; events were missed"),
                )
                .hint("subscribe again, then list what matters to learn its present state"))))
            }
            other => other.map(|event| event.map(Ok)),
        }
    }
}

/// Checks a topic: `/` and identifiers, joined by `/`.
fn check_topic(topic: &str) -> Result<()> {
    let bad = |why: &dyn std::fmt::Display| {
        Error::invalid(format_args!("envelope topic {topic:?}: {why}"))
    };
    if topic.is_empty() {
        return Err(bad(&"must not be empty"));
    }
    let Some(path) = topic.strip_prefix('/') else { return Err(bad(&"must start with '/'")) };
    if path.is_empty() {
        return Err(bad(&"must have at least one component"));
    }
    path.split('/')
        .try_for_each(|part| check_identifier(part).map_err(|error| bad(&error.message())))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use stowd_core::events::{Exchange as _, Publisher};

    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn created(name: &str) -> Event {
        Event::ImageCreate { name: name.to_owned(), labels: Default::default() }
    }

    #[tokio::test]
    async fn delivers_in_order_what_passes() {
        let exchange = Exchange::new();
        let filters = Filters::parse(&["namespace==a,topic~=|^/images/|"]).unwrap();
        let mut mine = exchange.subscribe(filters).await.unwrap();
        let mut all = exchange.subscribe(Filters::default()).await.unwrap();
        Publisher::publish(&exchange, &namespace("b"), created("no"));
        Publisher::publish(&exchange, &namespace("a"), created("one"));
        events::Exchange::publish(&exchange, &namespace("a"), "/other/thing", created("no"))
            .await
            .unwrap();
        Publisher::publish(&exchange, &namespace("a"), created("two"));
        drop(exchange);
        let topics: Vec<_> = all.by_ref().map(|e| e.unwrap().topic).collect().await;
        assert_eq!(topics, ["/images/create", "/images/create", "/other/thing", "/images/create"]);
        let names: Vec<_> = mine.by_ref().map(|e| e.unwrap().event).collect().await;
        assert_eq!(names, [created("one"), created("two")]);
    }

    #[tokio::test]
    async fn cuts_off_who_falls_behind() {
        let exchange = Exchange::new();
        let mut slow = exchange.subscribe(Filters::default()).await.unwrap();
        for _ in 0..=QUEUE {
            Publisher::publish(&exchange, &namespace("a"), created("x"));
        }
        let mut got = 0;
        let error = loop {
            match slow.next().await {
                Some(Ok(_)) => got += 1,
                Some(Err(error)) => break error,
                None => unreachable!("the stream ended without telling why"),
            }
        };
        assert_eq!(got, QUEUE);
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(slow.next().await.is_none());
        assert!(exchange.subscribers.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn refuses_bad_topics() {
        let exchange = Exchange::new();
        for bad in ["", "tasks", "/", "/a//b", "/a/b!"] {
            let namespace = namespace("a");
            let sent = events::Exchange::publish(&exchange, &namespace, bad, created("x"));
            assert_eq!(sent.await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }
}
