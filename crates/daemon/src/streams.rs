//! Streams between the call that opened them and the call that takes them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use stowd_core::streaming::{self, Stream};
use stowd_core::{Error, Namespace, Result, Scope};

/// Names that wait to be taken.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<(Namespace, String), Arc<dyn Stream>>>);

impl Streams {
    fn names(&self) -> MutexGuard<'_, HashMap<(Namespace, String), Arc<dyn Stream>>> {
        // Each change is one call: the map is whole whoever panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl streaming::Streams for Streams {
    async fn register(&self, scope: &Scope, id: &str, stream: Arc<dyn Stream>) -> Result<()> {
        match self.names().entry((scope.namespace.clone(), id.to_owned())) {
            Entry::Occupied(_) => Err(Error::already_exists(format_args!("stream {id:?}"))),
            Entry::Vacant(place) => {
                place.insert(stream);
                Ok(())
            }
        }
    }

    async fn take(&self, scope: &Scope, id: &str) -> Result<Arc<dyn Stream>> {
        self.names()
            .remove(&(scope.namespace.clone(), id.to_owned()))
            .ok_or_else(|| Error::not_found(format_args!("stream {id:?}")))
    }

    async fn forget(&self, scope: &Scope, id: &str) {
        self.names().remove(&(scope.namespace.clone(), id.to_owned()));
    }
}
