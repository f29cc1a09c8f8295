//! Blobs: immutable data, named by its digest.
//!
//! # Lifecycle
//!
//! A blob starts as an *ingest*, named by a *reference* that its writer chooses (`layer-sha256:…`)
//! and that is unique in the namespace. [`Store::writer`] opens it, new or where an earlier writer
//! stopped; only one writer may hold it at a time. What was written survives the writer, the
//! client and the daemon, until [`Writer::commit`] turns it into a blob or [`Store::abort`]
//! throws it away. Commit checks length and digest; after it the ingest is gone and the blob is
//! visible, whole and durable.
//!
//! ```text
//! (nothing) --writer(ref)--> ingest --write*, drop, writer(ref), write*--> ingest
//!           --commit(size, digest, labels)--> blob --delete or garbage collection--> (nothing)
//! ```
//!
//! A blob has labels in each namespace that knows it; its bytes are stored once for all of them.
//! Garbage collection removes blobs that neither a label, an object nor a lease refers to, so a
//! client writes under a lease (or sets a `containerd.io/gc.root` label at commit).
//!
//! # Errors
//!
//! `NotFound`: no such blob or ingest here. `AlreadyExists`: opening a writer for, or committing, a
//! digest that this namespace has. `Unavailable`: another writer holds the reference.
//! `FailedPrecondition`: length or digest differ from what was promised; the ingest stays.
//! `OutOfRange`: reading past the end, or writing at another offset than the end.
//!
//! Two floors implement this: [`Blobs`] is the plain store of bytes (crate `content`), [`Store`]
//! is the namespaced face over it (crate `metadata`) and what clients see (crate `proxy`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::filters::{self, Adaptor, Filters};
use crate::{Chunks, Digest, Labels, Result, Scope};

/// What is known of a blob in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When this namespace came to know it.
    pub created: SystemTime,
    /// When its labels last changed.
    pub updated: SystemTime,
    /// Its labels.
    pub labels: Labels,
}

/// How far an ingest has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestStatus {
    /// Its name.
    pub reference: String,
    /// Bytes written so far: where the next write continues.
    pub offset: u64,
    /// Bytes expected in all; 0 where the writer did not say.
    pub total: u64,
    /// The digest that the writer promised.
    pub expected: Option<Digest>,
    /// When it was first opened.
    pub started: SystemTime,
    /// When it was last written to.
    pub updated: SystemTime,
}

/// What a writer says when it opens an ingest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterOptions {
    /// The ingest's name; must not be empty.
    pub reference: String,
    /// The length in bytes that it will have, where known.
    pub total: Option<u64>,
    /// The digest that it will have, where known. Opening fails with `AlreadyExists` when the
    /// namespace has that blob.
    pub expected: Option<Digest>,
}

/// What must hold when an ingest becomes a blob, and what is written onto it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The length that it must have.
    pub size: Option<u64>,
    /// The digest that it must have.
    pub expected: Option<Digest>,
    /// The blob's labels.
    pub labels: Labels,
}

/// Reads a blob at any place, from several tasks at once.
#[async_trait]
pub trait Blob: Send + Sync {
    /// Returns the length in bytes.
    fn size(&self) -> u64;

    /// Reads up to `len` bytes from `offset`; fewer only at the end, none at or past it.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;

    /// Returns the open file behind a local blob, for readers that would rather not go through
    /// [`read_at`](Self::read_at). Its offset is shared: use positioned reads only.
    fn file(&self) -> Option<&std::fs::File> {
        None
    }
}

/// Writes an ingest. Dropping it keeps what was written and frees the reference.
#[async_trait]
pub trait Writer: Send {
    /// Returns how far the ingest has come.
    fn status(&self) -> IngestStatus;

    /// Returns the digest of what was written so far, where the writer computes it as it goes.
    fn digest(&self) -> Option<Digest>;

    /// Appends data.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Cuts the ingest to a length that it has already passed.
    async fn truncate(&mut self, size: u64) -> Result<()>;

    /// Checks the ingest and turns it into a blob. On success the writer is used up.
    ///
    /// When the namespace has a blob of that digest, the ingest is dropped and the answer is
    /// `AlreadyExists`: callers treat that as success.
    async fn commit(&mut self, commit: Commit) -> Result<Digest>;
}

/// The namespaced face of the content store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Opens a blob for reading.
    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Arc<dyn Blob>>;

    /// Returns what is known of a blob.
    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<Info>;

    /// Changes labels: those that `fieldpaths` name (`labels`, `labels.<key>`), or all when empty.
    /// A label set to an empty value is removed. Everything else is immutable.
    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info>;

    /// Lists the namespace's blobs in the order of their digests.
    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>>;

    /// Removes a blob from the namespace; its bytes go when no namespace knows it any more.
    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()>;

    /// Opens an ingest, new or continued.
    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn Writer>>;

    /// Returns how far an ingest has come.
    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus>;

    /// Lists the namespace's ingests.
    async fn statuses(&self, scope: &Scope, filters: &Filters) -> Result<Vec<IngestStatus>>;

    /// Throws an ingest away.
    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()>;
}

/// The plain store of bytes below the namespaces: no labels, no leases, one name per blob.
///
/// Ingests are named by a *key* that is unique over all namespaces; whoever stands above decides
/// how a namespace's reference becomes a key. Commit makes the bytes durable before it returns.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Opens a blob for reading.
    async fn open(&self, digest: &Digest) -> Result<Arc<dyn Blob>>;

    /// Returns the length of a blob.
    async fn size(&self, digest: &Digest) -> Result<u64>;

    /// Lists all blobs with their length, in no order.
    async fn list(&self) -> Result<Vec<(Digest, u64)>>;

    /// Removes a blob. Readers that have it open keep it.
    async fn remove(&self, digest: &Digest) -> Result<()>;

    /// Opens the ingest `key`; its statuses carry `options.reference`. The commit's labels are
    /// ignored here.
    async fn writer(&self, key: &str, options: WriterOptions) -> Result<Box<dyn Writer>>;

    /// Returns how far an ingest has come.
    async fn status(&self, key: &str) -> Result<IngestStatus>;

    /// Lists the keys of all ingests.
    async fn ingests(&self) -> Result<Vec<String>>;

    /// Throws an ingest away.
    async fn abort(&self, key: &str) -> Result<()>;
}

impl Adaptor for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["digest"] => Some(self.digest.as_str().into()),
            ["size"] => Some(self.size.to_string().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            _ => None,
        }
    }
}

impl Adaptor for IngestStatus {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["ref"] => Some(self.reference.as_str().into()),
            _ => None,
        }
    }
}
