//! Writing an ingest.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use stowd_core::content::{Commit, IngestStatus, Writer, WriterOptions};
use stowd_core::digest::Algorithm;
use stowd_core::{Digest, Error, Result};

use crate::blocking;
use crate::hashing::Lane;
use crate::ingest::{self, Ingest};
use crate::locks::Held;
use crate::store::Layout;

/// Up to here a write into the page cache is done in place.
const INLINE: usize = 64 << 10;
/// A write in place that took longer was held back by the kernel for the disk's sake.
const SLOW: Duration = Duration::from_millis(2);
/// The kernel is asked to begin writing out each time so much has come together, which leaves
/// little to wait for at commit.
const WRITE_OUT: u64 = 8 << 20;

/// The writer of a local ingest.
pub(crate) struct LocalWriter {
    target: Arc<Target>,
    lane: Lane,
    status: IngestStatus,
    state: State,
    committed: Option<Digest>,
    in_place: bool,
    written_out: u64,
}

/// What the blocking work of a writer needs. It goes on when the writer is dropped meanwhile; the
/// key stays taken until it is done.
struct Target {
    layout: Arc<Layout>,
    ingest: Ingest,
    file: File,
    // Held by whatever changes the file.
    turn: Mutex<()>,
    _held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// File, hash and status agree.
    Ready,
    /// A write failed or was given up half-way: the file may be longer and the hash ahead.
    Uncertain,
    /// Committed, or dropped because the blob was there.
    Done,
}

impl LocalWriter {
    pub(crate) fn open(
        layout: Arc<Layout>,
        ingest: Ingest,
        held: Held,
        options: WriterOptions,
    ) -> Result<Self> {
        let algorithm = options.expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let opened = ingest.open(options.total, algorithm)?;
        let status = IngestStatus {
            reference: options.reference,
            expected: options.expected,
            ..opened.status
        };
        let target =
            Target { layout, ingest, file: opened.file, turn: Mutex::default(), _held: held };
        Ok(Self {
            target: Arc::new(target),
            lane: Lane::new(algorithm, opened.hasher),
            written_out: status.offset,
            status,
            state: State::Ready,
            committed: None,
            in_place: true,
        })
    }

    /// Brings file and hash back to what was acknowledged.
    async fn settle(&mut self) -> Result<()> {
        match self.state {
            State::Ready => Ok(()),
            State::Done => Err(Error::failed_precondition(format_args!(
                "ingest {:?} is committed already",
                self.status.reference
            ))),
            State::Uncertain => self.cut(self.status.offset).await,
        }
    }

    async fn cut(&mut self, size: u64) -> Result<()> {
        let (target, algorithm) = (self.target.clone(), self.lane.algorithm());
        self.state = State::Uncertain;
        let hasher = blocking(move || {
            let _turn = target.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let cut = || -> io::Result<_> {
                target.file.set_len(size)?;
                ingest::hash(&target.file, algorithm, size)
            };
            cut().map_err(|error| Error::io("cut an ingest", &error))
        })
        .await?
        .0;
        self.lane = Lane::new(algorithm, hasher);
        self.status.offset = size;
        self.written_out = self.written_out.min(size);
        self.state = State::Ready;
        Ok(())
    }

    async fn put(&mut self, data: Bytes) -> Result<()> {
        let offset = self.status.offset;
        if self.in_place && data.len() <= INLINE {
            let begun = Instant::now();
            let result = self.target.put(&data, offset);
            self.in_place = begun.elapsed() < SLOW;
            return result;
        }
        self.in_place = true;
        let target = self.target.clone();
        let write_out = offset + data.len() as u64 - self.written_out >= WRITE_OUT;
        let from = self.written_out;
        if write_out {
            self.written_out = offset + data.len() as u64;
        }
        blocking(move || {
            target.put(&data, offset)?;
            if write_out {
                let len = offset + data.len() as u64 - from;
                // Advice: where it cannot be followed, commit waits longer.
                let _ = stowd_sys::file::begin_write_out(&target.file, from, len);
            }
            Ok(())
        })
        .await
    }
}

impl Target {
    fn put(&self, data: &[u8], offset: u64) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(data, offset).map_err(|error| Error::io("write an ingest", &error))
    }

    /// Turns the ingest into the blob `actual`, or finds that it is there already.
    fn publish(&self, actual: &Digest) -> Result<()> {
        let blob = self.layout.blob(actual);
        if blob.exists() {
            let _ = self.ingest.remove();
            return Err(Error::already_exists(format_args!("content {actual}")));
        }
        let publish = || -> io::Result<()> {
            self.file.sync_data()?;
            self.file.set_permissions(Permissions::from_mode(0o444))?;
            fs::rename(self.ingest.data(), &blob)?;
            self.layout.sync(actual.algorithm())
        };
        publish().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::aborted("ingest was aborted while it was written"),
            _ => Error::io(format_args!("commit content {actual}"), &error),
        })?;
        if let Err(error) = self.ingest.remove() {
            tracing::warn!(%error, "cannot remove a committed ingest");
        }
        Ok(())
    }
}

#[async_trait]
impl Writer for LocalWriter {
    fn status(&self) -> IngestStatus {
        self.status.clone()
    }

    fn digest(&self) -> Option<Digest> {
        if self.committed.is_some() {
            return self.committed.clone();
        }
        (self.state != State::Uncertain).then(|| self.lane.digest())
    }

    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.settle().await?;
        if data.is_empty() {
            return Ok(());
        }
        let len = data.len() as u64;
        // Until both are done: this future may be dropped at each await.
        self.state = State::Uncertain;
        self.lane.push(data.clone()).await;
        self.put(data).await?;
        self.state = State::Ready;
        self.status.offset += len;
        self.status.updated = SystemTime::now();
        Ok(())
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        self.settle().await?;
        if size > self.status.offset {
            return Err(Error::out_of_range(format_args!(
                "truncate to {size}: ingest {:?} has {} bytes",
                self.status.reference, self.status.offset
            )));
        }
        if size < self.status.offset {
            self.cut(size).await?;
            self.status.updated = SystemTime::now();
        }
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<Digest> {
        self.settle().await?;
        let offset = self.status.offset;
        if let Some(size) = commit.size
            && size != offset
        {
            return Err(Error::failed_precondition(format_args!(
                "unexpected commit size {offset}, expected {size}"
            )));
        }
        let expected = commit.expected.or_else(|| self.status.expected.clone());
        let other = expected.as_ref().map(Digest::algorithm);
        let target = self.target.clone();
        // What is left to hash is a few milliseconds' work at most.
        let mut actual = self.lane.digest();
        if let Some(algorithm) = other
            && algorithm != actual.algorithm()
        {
            let target = self.target.clone();
            let hasher = blocking(move || {
                ingest::hash(&target.file, algorithm, offset)
                    .map_err(|error| Error::io("hash an ingest", &error))
            })
            .await?
            .0;
            actual = hasher.digest();
        }
        if let Some(expected) = expected
            && expected != actual
        {
            return Err(Error::failed_precondition(format_args!(
                "unexpected commit digest {actual}, expected {expected}"
            )));
        }
        let digest = actual.clone();
        let result = blocking(move || {
            let _turn = target.turn.lock().unwrap_or_else(PoisonError::into_inner);
            target.publish(&actual)
        })
        .await;
        if result.as_ref().map_or_else(Error::is_already_exists, |()| true) {
            self.state = State::Done;
            self.committed = Some(digest.clone());
        }
        result.map(|()| digest)
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        if self.state != State::Done {
            self.target.ingest.touch(self.status.updated);
        }
    }
}
