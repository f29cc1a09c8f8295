//! The namespaced face of the blob store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use stowd_core::content::{Blob, Info, IngestStatus, Store, Writer, WriterOptions};
use stowd_core::events::Event;
use stowd_core::filters::Filters;
use stowd_core::{Chunks, Digest, Error, Namespace, Result, Scope, labels};

use crate::Sharing;
use crate::collector::expiry;
use crate::database::{Read, decode};
use crate::fields;
use crate::ingest::IngestWriter;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::{BlobRecord, IngestRecord, Mark, NamespaceRecord, nanos, time};
use crate::transaction::Transaction;

/// How long an ingest is kept that no lease protects, as in containerd.
const UNLEASED: Duration = Duration::from_secs(24 * 60 * 60);
/// The books' entry that numbers ingests.
const LAST_INGEST: &str = "ingest";

pub(crate) struct Content(pub(crate) Arc<Inner>);

#[async_trait]
impl Store for Content {
    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Arc<dyn Blob>> {
        if !self.0.database.view(|view| view.has(&key::blob(&scope.namespace, digest)))? {
            return Err(absent(digest));
        }
        self.0.blobs.open(digest).await
    }

    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<Info> {
        let key = key::blob(&scope.namespace, digest);
        let record: Option<BlobRecord> = self.0.database.view(|view| view.get(&key))?;
        Ok(record.ok_or_else(|| absent(digest))?.info(digest.clone()))
    }

    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info> {
        let namespace = scope.namespace.clone();
        let fieldpaths = fieldpaths.to_vec();
        self.0
            .queue
            .write(move |tx| {
                let key = key::blob(&namespace, &info.digest);
                let mut record: BlobRecord = tx.get(&key)?.ok_or_else(|| absent(&info.digest))?;
                let what = format!("content info {:?}", info.digest.as_str());
                fields::change_only(&mut record.labels, &info.labels, &fieldpaths, &what)?;
                record.updated = nanos(SystemTime::now());
                tx.put(&key, &record)?;
                // A label may have been the last that kept another blob.
                tx.deleted();
                if let Some(at) = expiry(&record.labels) {
                    tx.expires(at);
                }
                Ok(record.info(info.digest))
            })
            .await
    }

    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>> {
        let prefix = Key::new(kind::BLOB, [scope.namespace.as_str()]);
        Ok(self.0.list(prefix, filters, |key, value| {
            let Some([_, digest]) = key::parts(key) else { return Ok(None) };
            let Ok(digest) = digest.parse() else { return Ok(None) };
            Ok(Some(decode::<BlobRecord>(key, value)?.info(digest)))
        }))
    }

    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let (scope, digest) = (scope.clone(), digest.clone());
        self.0
            .queue
            .write(move |tx| {
                if !forget(tx, &scope.namespace, &digest)? {
                    return Err(absent(&digest));
                }
                tx.unlease(&scope, "content", digest.as_str())?;
                tx.deleted();
                let event = Event::ContentDelete { digest: digest.as_str().to_owned() };
                tx.publish(&scope.namespace, event);
                Ok(())
            })
            .await
    }

    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn Writer>> {
        if options.reference.is_empty() {
            return Err(Error::invalid("ref must not be empty"));
        }
        let opened = self.begin(scope, &options).await?;
        let status = IngestStatus {
            reference: options.reference.clone(),
            offset: opened.shared.unwrap_or_default(),
            total: options.total.or(opened.shared).unwrap_or_default(),
            expected: options.expected.clone().or_else(|| opened.expected.parse().ok()),
            started: time(opened.started),
            updated: time(opened.started),
        };
        let mut writer =
            IngestWriter::new(self.0.clone(), scope.clone(), opened.key, status, options);
        if opened.shared.is_none() {
            writer.open().await?;
        }
        Ok(Box::new(writer))
    }

    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus> {
        let key = key::ingest(&scope.namespace, reference);
        let record: Option<IngestRecord> = self.0.database.view(|view| view.get(&key))?;
        let record = record.ok_or_else(|| no_ingest(reference))?;
        self.ingest_status(reference.to_owned(), record).await
    }

    async fn statuses(&self, scope: &Scope, filters: &Filters) -> Result<Vec<IngestStatus>> {
        let mut records: Vec<(String, IngestRecord)> = Vec::new();
        self.0.database.view(|view| {
            view.walk(&Key::new(kind::INGEST, [scope.namespace.as_str()]), None, |key, value| {
                if let Some([_, reference]) = key::parts(key) {
                    records.push((reference, decode(key, value)?));
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })
        })?;
        let mut statuses = Vec::new();
        for (reference, record) in records {
            match self.ingest_status(reference, record).await {
                Ok(status) if filters.matches(&status) => statuses.push(status),
                Ok(_) => {}
                // Committed or aborted meanwhile.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(statuses)
    }

    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()> {
        let key = key::ingest(&scope.namespace, reference);
        let record: Option<IngestRecord> = self.0.database.view(|view| view.get(&key))?;
        let record = record.ok_or_else(|| no_ingest(reference))?;
        if record.shared.is_none() {
            match self.0.blobs.abort(&record.key).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        let (scope, reference) = (scope.clone(), reference.to_owned());
        self.0.queue.write(move |tx| end_ingest(tx, &scope, &reference).map(drop)).await
    }
}

impl Content {
    /// Makes an ingest's record, or finds it.
    async fn begin(&self, scope: &Scope, options: &WriterOptions) -> Result<IngestRecord> {
        let (scope, options) = (scope.clone(), options.clone());
        let sharing = self.0.sharing;
        // A blob whose bytes were lost (by hand, or by the disk) is written anew.
        let there = match &options.expected {
            Some(expected) => self.0.blobs.size(expected).await.is_ok(),
            None => false,
        };
        self.0
            .queue
            .write(move |tx| {
                if let Some(expected) = &options.expected
                    && there
                    && tx.has(&key::blob(&scope.namespace, expected))?
                {
                    // Under this lease it must not be collected before the caller refers to it.
                    tx.lease(&scope, "content", expected.as_str())?;
                    return Ok(Err(Error::already_exists(format_args!("content {expected}"))));
                }
                let key = key::ingest(&scope.namespace, &options.reference);
                let leased = tx.lease(&scope, "ingests", &options.reference)?;
                let now = SystemTime::now();
                let found: Option<IngestRecord> = tx.get(&key)?;
                // One that has data of its own goes on with them.
                let may_share = there && found.as_ref().is_none_or(|found| found.shared.is_some());
                let mut record = match found {
                    Some(record) => record,
                    None => {
                        tx.ensure_namespace(&scope.namespace)?;
                        let number = tx.next(LAST_INGEST)?;
                        let namespace = scope.namespace.as_str();
                        IngestRecord {
                            key: format!("{namespace}/{number}/{}", options.reference),
                            started: nanos(now),
                            ..IngestRecord::default()
                        }
                    }
                };
                if let Some(expected) = &options.expected {
                    let_go(tx, &scope, &options.reference, &record)?;
                    expected.as_str().clone_into(&mut record.expected);
                    let shared = if may_share { shared(tx, sharing, expected)? } else { None };
                    // Who promises another length is told so at the commit.
                    let total = options.total.filter(|total| *total > 0);
                    record.shared = shared.filter(|size| total.is_none_or(|total| total == *size));
                    if record.shared.is_some() {
                        let (namespace, reference) = (&scope.namespace, &options.reference);
                        tx.put(&key::holder(expected, namespace, reference), &Mark {})?;
                    }
                }
                record.expires = (!leased).then(|| nanos(now + UNLEASED));
                if !leased {
                    tx.expires(now + UNLEASED);
                }
                tx.put(&key, &record)?;
                Ok(Ok(record))
            })
            .await?
    }

    async fn ingest_status(&self, reference: String, record: IngestRecord) -> Result<IngestStatus> {
        let mut status = match record.shared {
            Some(size) => IngestStatus {
                reference: String::new(),
                offset: size,
                total: size,
                expected: None,
                started: time(record.started),
                updated: time(record.started),
            },
            None => self.0.blobs.status(&record.key).await.map_err(|error| {
                if error.is_not_found() { no_ingest(&reference) } else { error }
            })?,
        };
        status.reference = reference;
        status.expected = record.expected.parse().ok();
        Ok(status)
    }
}

/// Returns the size of a blob that another namespace has and lets this one use.
fn shared(read: &impl Read, sharing: Sharing, digest: &Digest) -> Result<Option<u64>> {
    let mut holders: Vec<String> = Vec::new();
    read.walk(&key::holders(digest), None, |key, _| {
        if let Some([_, namespace, reference]) = key::parts(key)
            && reference.is_empty()
        {
            holders.push(namespace);
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    for holder in holders {
        let Ok(namespace) = Namespace::new(holder) else { continue };
        let shareable = match sharing {
            Sharing::Shared => true,
            Sharing::Isolated => {
                read.get::<NamespaceRecord>(&key::namespace(&namespace))?.is_some_and(|record| {
                    record.labels.get(labels::NAMESPACE_SHAREABLE).is_some_and(|v| v == "true")
                })
            }
        };
        if shareable && let Some(record) = read.get::<BlobRecord>(&key::blob(&namespace, digest))? {
            return Ok(Some(record.size));
        }
    }
    Ok(None)
}

/// Removes an ingest's record with its hold on shared bytes; returns it if it was there.
pub(crate) fn end_ingest(
    tx: &mut Transaction<'_>,
    scope: &Scope,
    reference: &str,
) -> Result<Option<IngestRecord>> {
    let key = key::ingest(&scope.namespace, reference);
    let Some(record) = tx.get::<IngestRecord>(&key)? else { return Ok(None) };
    tx.delete(&key)?;
    tx.unlease(scope, "ingests", reference)?;
    let_go(tx, scope, reference, &record)?;
    Ok(Some(record))
}

/// Gives up an ingest's hold on shared bytes, if it has one.
pub(crate) fn let_go(
    tx: &mut Transaction<'_>,
    scope: &Scope,
    reference: &str,
    record: &IngestRecord,
) -> Result<()> {
    if record.shared.is_some()
        && let Ok(digest) = record.expected.parse::<Digest>()
    {
        tx.delete(&key::holder(&digest, &scope.namespace, reference))?;
        tx.freed().blobs.push(digest);
    }
    Ok(())
}

/// Removes a blob's record and gives its bytes up; says whether it was there.
pub(crate) fn forget(
    tx: &mut Transaction<'_>,
    namespace: &Namespace,
    digest: &Digest,
) -> Result<bool> {
    if !tx.delete(&key::blob(namespace, digest))? {
        return Ok(false);
    }
    tx.delete(&key::holder(digest, namespace, ""))?;
    tx.freed().blobs.push(digest.clone());
    Ok(true)
}

fn absent(digest: &Digest) -> Error {
    Error::not_found(format_args!("content digest {digest}"))
}

fn no_ingest(reference: &str) -> Error {
    Error::not_found(format_args!("reference {reference:?}"))
}
