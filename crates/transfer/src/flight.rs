//! One at a time per key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// Hands out locks by key, as long as anybody holds or waits for them.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<Gate<()>>>>);

impl Flights {
    /// Waits until the key is free, and takes it.
    pub(crate) async fn take(&self, key: &str) -> OwnedMutexGuard<()> {
        self.gate(key).lock_owned().await
    }

    /// Takes the key if it is free.
    pub(crate) fn try_take(&self, key: &str) -> Option<OwnedMutexGuard<()>> {
        self.gate(key).try_lock_owned().ok()
    }

    fn gate(&self, key: &str) -> Arc<Gate<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(key).and_then(Weak::upgrade) {
            return gate;
        }
        // As many entries as there are transfers' layers under way, so a look at all is cheap.
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Gate::new(()));
        gates.insert(key.to_owned(), Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_apart_and_forgotten() {
        let flights = Flights::default();
        let a = flights.take("a").await;
        assert!(flights.try_take("a").is_none());
        let b = flights.try_take("b").unwrap();
        drop((a, b));
        drop(flights.take("c").await);
        let _d = flights.take("d").await;
        assert_eq!(flights.0.lock().unwrap().len(), 1);
        assert!(flights.try_take("a").is_some());
    }
}
