//! The store of namespaces themselves: which there are, and their labels.
//!
//! A namespace exists from its create, or from the first object made in it, until it is deleted,
//! which works only when it is empty.
//!
//! # Errors
//!
//! `NotFound`: change or delete of one that does not exist. `AlreadyExists`: create of one that exists.
//! `FailedPrecondition`: delete of one that still holds objects; the message says which kinds.

use async_trait::async_trait;

use crate::{Labels, Namespace, Result};

/// The store of namespaces.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns a namespace's labels: none for one that does not exist, since it may come into being
    /// with its next object, and clients ask for their defaults before they make that.
    async fn get(&self, name: &Namespace) -> Result<Labels>;

    /// Lists all namespaces with their labels, in the order of their names.
    async fn list(&self) -> Result<Vec<(Namespace, Labels)>>;

    /// Creates a namespace.
    async fn create(&self, name: &Namespace, labels: Labels) -> Result<()>;

    /// Changes labels: those that `fieldpaths` name (`labels`, `labels.<key>`), or all when empty.
    /// A label set to an empty value is removed.
    async fn update(
        &self,
        name: &Namespace,
        labels: Labels,
        fieldpaths: &[String],
    ) -> Result<Labels>;

    /// Deletes an empty namespace.
    async fn delete(&self, name: &Namespace) -> Result<()>;
}
