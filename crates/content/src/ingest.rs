//! An ingest's directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use stowd_core::content::IngestStatus;
use stowd_core::digest::{Algorithm, Hasher};
use stowd_core::{Digest, Error, Result};

const REF: &str = "ref";
const DATA: &str = "data";
const STARTED: &str = "startedat";
const UPDATED: &str = "updatedat";
const TOTAL: &str = "total";

/// The directory of one ingest, whether it exists or not.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    path: PathBuf,
    key: String,
}

/// An ingest opened for writing.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) status: IngestStatus,
    pub(crate) hasher: Hasher,
}

impl Ingest {
    pub(crate) fn new(ingests: &Path, key: &str) -> Self {
        Self { path: ingests.join(name(key)), key: key.to_owned() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Reads how far the ingest has come.
    pub(crate) fn status(&self) -> Result<IngestStatus> {
        let read = || -> io::Result<IngestStatus> {
            let data = fs::metadata(self.data())?;
            let started = read_time(&self.path.join(STARTED))?;
            // Not written at every write, so the data's own time may be the later one.
            let updated = read_time(&self.path.join(UPDATED))?.max(data.modified()?);
            Ok(IngestStatus {
                reference: self.key.clone(),
                offset: data.len(),
                total: self.total(),
                expected: None,
                started,
                updated,
            })
        };
        read().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => Error::io(format_args!("read ingest {:?}", self.key), &error),
        })
    }

    /// Opens the ingest where it stopped, or anew.
    ///
    /// What cannot be resumed (a crash interrupted its making, or another length is announced now)
    /// is begun again: its data is worth no more than a download.
    pub(crate) fn open(&self, total: Option<u64>, algorithm: Algorithm) -> Result<Opened> {
        let failed =
            |error: io::Error| Error::io(format_args!("open ingest {:?}", self.key), &error);
        match fs::create_dir(&self.path) {
            Ok(()) => return self.create(total, algorithm).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        match self.resume(total, algorithm) {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                tracing::info!(key = %self.key, %error, "ingest cannot be resumed and is begun anew");
            }
        }
        fs::remove_dir_all(&self.path).map_err(failed)?;
        fs::create_dir(&self.path).map_err(failed)?;
        self.create(total, algorithm).map_err(failed)
    }

    /// Notes when the ingest was last written to.
    pub(crate) fn touch(&self, time: SystemTime) {
        // Only the listing shows it, and the directory is gone when the ingest was aborted.
        if let Err(error) = write_time(&self.path.join(UPDATED), time)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(key = %self.key, %error, "cannot note an ingest's time");
        }
    }

    /// Removes the ingest.
    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => Error::io(format_args!("remove ingest {:?}", self.key), &error),
        })
    }

    fn create(&self, total: Option<u64>, algorithm: Algorithm) -> io::Result<Opened> {
        let now = SystemTime::now();
        fs::write(self.path.join(REF), &self.key)?;
        write_time(&self.path.join(STARTED), now)?;
        write_time(&self.path.join(UPDATED), now)?;
        if let Some(total) = total.filter(|total| *total > 0) {
            fs::write(self.path.join(TOTAL), total.to_string())?;
        }
        let options = &mut OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(self.data())?;
        let status = IngestStatus {
            reference: self.key.clone(),
            offset: 0,
            total: total.unwrap_or(0),
            expected: None,
            started: now,
            updated: now,
        };
        Ok(Opened { file, status, hasher: algorithm.hasher() })
    }

    fn resume(&self, total: Option<u64>, algorithm: Algorithm) -> Result<Opened> {
        let mut status = self.status()?;
        let key = fs::read_to_string(self.path.join(REF)).unwrap_or_default();
        if key != self.key {
            return Err(Error::data_loss(format_args!("its key is {key:?}")));
        }
        if let Some(total) = total.filter(|total| *total > 0)
            && status.total > 0
            && total != status.total
        {
            return Err(Error::failed_precondition(format_args!(
                "provided total differs from status: {total} != {}",
                status.total
            )));
        }
        let failed = |error: io::Error| Error::io("read its data", &error);
        let options = &mut OpenOptions::new();
        let file = options.read(true).write(true).open(self.data()).map_err(failed)?;
        let (hasher, offset) = hash(&file, algorithm, u64::MAX).map_err(failed)?;
        status.offset = offset;
        if status.total == 0 {
            status.total = total.unwrap_or(0);
        }
        Ok(Opened { file, status, hasher })
    }

    fn total(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(TOTAL)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn missing(&self) -> Error {
        Error::not_found(format_args!("ingest ref {:?}", self.key))
    }
}

/// Lists the keys of whole ingests, and removes what a crash left of others.
pub(crate) fn sweep(ingests: &Path) -> io::Result<()> {
    for entry in fs::read_dir(ingests)? {
        let path = entry?.path();
        if key(&path).is_some() && path.join(DATA).exists() {
            continue;
        }
        tracing::info!(path = %path.display(), "removing what a crash left of an ingest");
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "cannot remove what is left of an ingest");
        }
    }
    Ok(())
}

/// Lists the keys of all ingests.
pub(crate) fn keys(ingests: &Path) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(ingests)? {
        keys.extend(key(&entry?.path()));
    }
    Ok(keys)
}

/// Hashes the first `limit` bytes of a file; returns how many there were.
pub(crate) fn hash(file: &File, algorithm: Algorithm, limit: u64) -> io::Result<(Hasher, u64)> {
    use std::os::unix::fs::FileExt as _;
    let mut hasher = algorithm.hasher();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < limit {
        let want = usize::try_from(limit - offset).map_or(buffer.len(), |n| n.min(buffer.len()));
        let read = match file.read_at(&mut buffer[..want], offset) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    Ok((hasher, offset))
}

fn name(key: &str) -> String {
    Digest::of(key.as_bytes()).hex().to_owned()
}

/// Returns the key of the ingest in a directory, if it is one.
fn key(path: &Path) -> Option<String> {
    let mut key = String::new();
    // No key is longer than what one message can carry.
    File::open(path.join(REF)).ok()?.take(16 << 20).read_to_string(&mut key).ok()?;
    (path.file_name()?.to_str()? == name(&key)).then_some(key)
}

fn read_time(path: &Path) -> io::Result<SystemTime> {
    let text = fs::read_to_string(path)?;
    let time: Timestamp = text.trim().parse().map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })?;
    Ok(time.into())
}

fn write_time(path: &Path, time: SystemTime) -> io::Result<()> {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    // Written beside and renamed, so that a crash leaves no empty file.
    let beside = path.with_extension("tmp");
    fs::write(&beside, time.to_string())?;
    fs::rename(&beside, path)
}
