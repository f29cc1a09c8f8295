//! The file: opened, read, and opened again after an I/O error.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use prost::Message;
use redb::{ReadOnlyTable, ReadableDatabase as _, ReadableTable, TableDefinition};
use stowd_core::{Error, Result};

use crate::backend::Reserving;
use crate::key::{self, Key};
use crate::record::Format;

/// The database's file in its directory. Not containerd's `meta.db`, which is of another format.
pub(crate) const FILE: &str = "meta.redb";
/// The format that this stowd writes and the newest that it reads.
const FORMAT: u32 = 1;
/// Files up to here are checked page by page when they are opened, which takes about a millisecond
/// per megabyte; larger ones only after a crash.
const CHECKED: u64 = 64 << 20;

type Bytes = &'static [u8];

/// All records, of all kinds: what belongs together in a transaction shares pages.
pub(crate) const RECORDS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("records");

/// The open database file.
pub(crate) struct Database {
    path: PathBuf,
    cache: usize,
    // Taken for writing only to close the file, or to open it again: redb answers no call after
    // an I/O error until then.
    open: RwLock<Option<redb::Database>>,
}

/// A consistent view of all records.
pub(crate) struct View {
    table: ReadOnlyTable<Bytes, Bytes>,
}

/// What views and transactions have in common.
pub(crate) trait Read {
    type Table: ReadableTable<Bytes, Bytes>;

    fn table(&self) -> &Self::Table;

    /// Returns a record.
    fn get<R: Message + Default>(&self, key: &Key) -> Result<Option<R>> {
        match self.table().get(key.as_bytes()).map_err(failed)? {
            Some(value) => decode(key.as_bytes(), value.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Says whether a record is there.
    fn has(&self, key: &Key) -> Result<bool> {
        Ok(self.table().get(key.as_bytes()).map_err(failed)?.is_some())
    }

    /// Says whether any record lies below a prefix.
    fn any(&self, prefix: &Key) -> Result<bool> {
        let mut found = false;
        self.walk(prefix, None, |_, _| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Calls `each` with keys and values below a prefix, in order, from behind `after` on.
    fn walk(
        &self,
        prefix: &Key,
        after: Option<&Key>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        use std::ops::Bound::{Excluded, Included};
        let start = after.map_or(Included(prefix.as_bytes()), |key| Excluded(key.as_bytes()));
        let end = prefix.end();
        let range = self.table().range::<&[u8]>((start, Excluded(end.as_slice())));
        for entry in range.map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if each(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Read for View {
    type Table = ReadOnlyTable<Bytes, Bytes>;

    fn table(&self) -> &Self::Table {
        &self.table
    }
}

impl Database {
    /// Opens the file in `root`, making both when they are missing.
    pub(crate) fn open(root: &Path, cache: usize) -> Result<Self> {
        let path = root.join(FILE);
        let failed = |error| Error::io(format_args!("open {}", path.display()), &error);
        fs::create_dir_all(root).map_err(failed)?;
        if !path.exists() {
            create(root, &path, cache)?;
        }
        let length = fs::metadata(&path).map_err(failed)?.len();
        let check = if length <= CHECKED { Check::Pages } else { Check::AfterCrash };
        let open = open(&path, cache, check)?;
        let database = Self { path, cache, open: RwLock::new(Some(open)) };
        database.check_format()?;
        Ok(database)
    }

    /// Reads from a consistent view.
    pub(crate) fn view<T>(&self, read: impl FnOnce(&View) -> Result<T>) -> Result<T> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(self::failed)?;
            let table = transaction.open_table(RECORDS).map_err(self::failed)?;
            read(&View { table })
        })
    }

    /// Lends the database to a caller that writes.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&redb::Database) -> Result<T>) -> Result<T> {
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => call(database),
            None => Err(closed()),
        }
    }

    /// Closes the file and opens it again, after an I/O error. What was committed is there again.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // The old handle must let go of the file's lock first.
        drop(slot.take());
        *slot = Some(open(&self.path, self.cache, Check::AfterCrash)?);
        Ok(())
    }

    /// Closes the file for good.
    pub(crate) fn close(&self) {
        let database = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = database.map(redb::Database::close) {
            tracing::warn!(path = %self.path.display(), %error, "closing the metadata database");
        }
    }

    fn check_format(&self) -> Result<()> {
        let format: Option<Format> = self.view(|view| view.get(&key::books("format")))?;
        match format.map(|format| format.version) {
            Some(1..=FORMAT) => Ok(()),
            Some(newer) if newer > FORMAT => Err(Error::failed_precondition(format_args!(
                "{} has format {newer}, and this stowd knows formats up to {FORMAT}",
                self.path.display()
            ))
            .hint("start the stowd that wrote it, or a newer one")),
            _ => Err(damaged(&self.path, &"it has no format record")),
        }
    }
}

/// Makes an error from a failed database call.
pub(crate) fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => Error::io("metadata database", &error),
        redb::Error::Corrupted(reason) => {
            Error::data_loss(format_args!("metadata database: {reason}")).hint(ADVICE)
        }
        redb::Error::DatabaseClosed => closed(),
        error => Error::internal(format_args!("metadata database: {error}")),
    }
}

/// Makes the error for calls after the end.
pub(crate) fn closed() -> Error {
    Error::unavailable("the metadata database is closed")
}

pub(crate) fn decode<R: Message + Default>(key: &[u8], value: &[u8]) -> Result<R> {
    R::decode(value).map_err(|error| {
        let key = String::from_utf8_lossy(key).replace('\0', "/");
        Error::data_loss(format_args!("the record {key:?} is damaged: {error}")).hint(ADVICE)
    })
}

const ADVICE: &str = "stop stowd and move the file away to start with an empty database; \
    images are then pulled again";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Pages,
    AfterCrash,
}

fn open(path: &Path, cache: usize, check: Check) -> Result<redb::Database> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        // redb would take it for a new one, and the loss would go unnoticed.
        return Err(damaged(path, &"it is empty"));
    }
    let mut builder = redb::Builder::new();
    builder.set_cache_size(cache).set_check_integrity_on_open(check == Check::Pages);
    let backend = Reserving::open(path)
        .map_err(|error| Error::io(format_args!("open {}", path.display()), &error))?;
    // Where damage is beyond what redb checks for, it panics.
    let opened =
        std::panic::catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)) => Err(Error::failed_precondition(
            format_args!("{} is in use by another process", path.display()),
        )
        .hint("another stowd runs on the same root")),
        Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))))
            if !matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Err(Error::io(format_args!("open {}", path.display()), &error))
        }
        Ok(Err(error)) => Err(damaged(path, &error)),
        Err(_) => Err(damaged(path, &"its pages contradict each other")),
    }
}

/// Makes the file whole under another name first: a crash leaves no half-made one.
fn create(root: &Path, path: &Path, cache: usize) -> Result<()> {
    let failed = |error| Error::io(format_args!("create {}", path.display()), &error);
    let beside = path.with_extension("new");
    if beside.exists() {
        fs::remove_file(&beside).map_err(failed)?;
    }
    File::create(&beside).map_err(failed)?;
    let mut builder = redb::Builder::new();
    let backend = Reserving::open(&beside).map_err(failed)?;
    let database =
        builder.set_cache_size(cache).create_with_backend(backend).map_err(self::failed)?;
    let transaction = database.begin_write().map_err(self::failed)?;
    {
        let mut table = transaction.open_table(RECORDS).map_err(self::failed)?;
        let format = Format { version: FORMAT }.encode_to_vec();
        table.insert(key::books("format").as_bytes(), format.as_slice()).map_err(self::failed)?;
    }
    transaction.commit().map_err(self::failed)?;
    database.close().map_err(self::failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    File::open(root).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::data_loss(format_args!("{} is damaged: {reason}", path.display())).hint(ADVICE)
}
