//! A namespaced writer: an ingest in the plain store, or one that shares a blob that is there.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use stowd_core::content::{Commit, IngestStatus, Writer, WriterOptions};
use stowd_core::events::Event;
use stowd_core::{Digest, Error, Result, Scope, labels};

use crate::collector::expiry;
use crate::content::{end_ingest, let_go};
use crate::database::Read as _;
use crate::fields;
use crate::inner::Inner;
use crate::key;
use crate::record::{BlobRecord, IngestRecord, Mark, nanos};
use crate::transaction::Freed;

/// How much of a shared blob is copied at once when its ingest gets data of its own.
const PIECE: usize = 1 << 20;

/// Writes one ingest of a namespace.
pub(crate) struct IngestWriter {
    inner: Arc<Inner>,
    scope: Scope,
    key: String,
    status: IngestStatus,
    options: WriterOptions,
    /// The ingest in the plain store; none while it shares another namespace's bytes.
    plain: Option<Box<dyn Writer>>,
    done: bool,
}

impl IngestWriter {
    pub(crate) fn new(
        inner: Arc<Inner>,
        scope: Scope,
        key: String,
        status: IngestStatus,
        options: WriterOptions,
    ) -> Self {
        Self { inner, scope, key, status, options, plain: None, done: false }
    }

    /// Opens the ingest in the plain store.
    pub(crate) async fn open(&mut self) -> Result<()> {
        let mut options = self.options.clone();
        // The plain store would refuse bytes that another namespace keeps to itself.
        if let Some(expected) = &options.expected
            && self.inner.blobs.size(expected).await.is_ok()
        {
            options.expected = None;
        }
        self.plain = Some(self.inner.blobs.writer(&self.key, options).await?);
        Ok(())
    }

    /// Gives a shared ingest data of its own: the first `size` bytes of what it shares.
    async fn own(&mut self, size: u64) -> Result<&mut Box<dyn Writer>> {
        if self.plain.is_none() {
            self.open().await?;
            let shared = self.status.expected.clone().unwrap_or_else(|| Digest::of(b""));
            let blob = self.inner.blobs.open(&shared).await?;
            let (scope, reference) = (self.scope.clone(), self.status.reference.clone());
            self.inner
                .queue
                .write(move |tx| {
                    let key = key::ingest(&scope.namespace, &reference);
                    if let Some(mut record) = tx.get::<IngestRecord>(&key)? {
                        let_go(tx, &scope, &reference, &record)?;
                        record.shared = None;
                        tx.put(&key, &record)?;
                    }
                    Ok(())
                })
                .await?;
            if let Some(plain) = &mut self.plain {
                plain.truncate(0).await?;
                let mut at = 0;
                while at < size {
                    let left = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
                    let piece = blob.read_at(at, left).await?;
                    if piece.is_empty() {
                        break;
                    }
                    at += piece.len() as u64;
                    plain.write(piece).await?;
                }
            }
        }
        self.plain.as_mut().ok_or_else(|| Error::internal("an ingest without a writer"))
    }

    fn check(&self) -> Result<()> {
        if self.done {
            return Err(Error::failed_precondition(format_args!(
                "writer of {:?} was committed",
                self.status.reference
            )));
        }
        Ok(())
    }

    /// Has the bytes in place; returns their digest and length.
    async fn finish(&mut self, commit: &Commit) -> Result<(Digest, u64)> {
        let expected = commit.expected.clone().or_else(|| self.options.expected.clone());
        let offset = self.plain.as_ref().map_or(self.status.offset, |plain| plain.status().offset);
        if let Some(size) = commit.size
            && size != offset
        {
            return Err(Error::failed_precondition(format_args!(
                "{:?} failed size validation: {offset} != {size}",
                self.status.reference
            )));
        }
        let Some(plain) = &mut self.plain else {
            let shared = self.status.expected.clone();
            let shared =
                shared.ok_or_else(|| Error::internal("a shared ingest without a digest"))?;
            if let Some(expected) = expected
                && expected != shared
            {
                return Err(Error::failed_precondition(format_args!(
                    "{:?} failed digest validation: {shared} != {expected}",
                    self.status.reference
                )));
            }
            return Ok((shared, offset));
        };
        let computed = plain.digest();
        let commit = Commit { expected: expected.clone(), ..Commit::default() };
        match plain.commit(commit).await {
            Ok(digest) => Ok((digest, offset)),
            // Its bytes are there, for another namespace or by a rival of this writer.
            Err(error) if error.is_already_exists() => match expected.or(computed) {
                Some(digest) => Ok((digest, offset)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Writer for IngestWriter {
    fn status(&self) -> IngestStatus {
        let Some(plain) = &self.plain else { return self.status.clone() };
        let mut status = plain.status();
        status.reference.clone_from(&self.status.reference);
        status.expected.clone_from(&self.status.expected);
        status
    }

    fn digest(&self) -> Option<Digest> {
        match &self.plain {
            Some(plain) => plain.digest(),
            None => self.status.expected.clone(),
        }
    }

    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.check()?;
        if data.is_empty() {
            return Ok(());
        }
        let size = self.status.offset;
        self.own(size).await?.write(data).await
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        self.check()?;
        if self.plain.is_none() && size == self.status.offset {
            return Ok(());
        }
        self.own(size).await?.truncate(size).await
    }

    async fn commit(&mut self, mut commit: Commit) -> Result<Digest> {
        self.check()?;
        labels::check_all(&commit.labels)?;
        fields::tidy(&mut commit.labels);
        // Until the record is durable, nobody may take the bytes for unwanted ones.
        let inner = self.inner.clone();
        let promised = commit
            .expected
            .clone()
            .or_else(|| self.options.expected.clone())
            .or_else(|| self.digest());
        let _bytes = inner.bytes.commit(promised.as_ref()).await;
        let (digest, size) = self.finish(&commit).await?;
        self.done = true;
        let (scope, reference) = (self.scope.clone(), self.status.reference.clone());
        let named = digest.clone();
        let is_shared = self.plain.is_none();
        let written = inner
            .queue
            .write(move |tx| {
                // Its hold may be gone with its record: aborted, or expired.
                if is_shared && !tx.any(&key::holders(&named))? {
                    return Err(Error::aborted(format_args!(
                        "{reference:?} was thrown away, and {named} is no longer there to share"
                    )));
                }
                end_ingest(tx, &scope, &reference)?;
                tx.ensure_namespace(&scope.namespace)?;
                tx.lease(&scope, "content", named.as_str())?;
                let key = key::blob(&scope.namespace, &named);
                if tx.has(&key)? {
                    return Ok(true);
                }
                let now = nanos(SystemTime::now());
                if let Some(at) = expiry(&commit.labels) {
                    tx.expires(at);
                }
                let record = BlobRecord { labels: commit.labels, created: now, updated: now, size };
                tx.put(&key, &record)?;
                tx.put(&key::holder(&named, &scope.namespace, ""), &Mark {})?;
                let event = Event::ContentCreate { digest: named.as_str().to_owned(), size };
                tx.publish(&scope.namespace, event);
                Ok(false)
            })
            .await;
        let existed = match written {
            Ok(existed) => existed,
            Err(error) => {
                // The bytes are in place and perhaps nobody's.
                inner.remover.remove(Freed { blobs: vec![digest], ..Freed::default() });
                return Err(error);
            }
        };
        if existed {
            return Err(Error::already_exists(format_args!("content {digest}")));
        }
        Ok(digest)
    }
}
