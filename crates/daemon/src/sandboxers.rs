//! The controllers of sandboxes, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use stowd_core::sandboxes::{Controller, Controllers};
use stowd_core::{Error, Result};

/// What keeps sandboxes here.
#[derive(Default)]
pub(crate) struct Sandboxers(BTreeMap<String, Arc<dyn Controller>>);

impl Sandboxers {
    /// Adds a controller under its name.
    pub(crate) fn add(&mut self, name: &str, controller: Arc<dyn Controller>) {
        self.0.insert(name.to_owned(), controller);
    }
}

impl Controllers for Sandboxers {
    fn controller(&self, name: &str) -> Result<Arc<dyn Controller>> {
        if name.is_empty() {
            return Err(Error::invalid("sandbox controller name can not be empty"));
        }
        self.0.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            Error::not_found(format_args!("failed to get sandbox controller by {name}"))
                .hint(format!("there are: {}", names.join(", ")))
        })
    }
}
