//! The store itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::content::{Blob, Blobs, IngestStatus, Writer, WriterOptions};
use stowd_core::digest::Algorithm;
use stowd_core::{Digest, Error, Result};

use crate::blob::LocalBlob;
use crate::blocking;
use crate::directory::Directory;
use crate::ingest::{self, Ingest};
use crate::locks::Locks;
use crate::writer::LocalWriter;

/// A store in a directory.
pub(crate) struct Store {
    layout: Arc<Layout>,
    locks: Locks,
}

/// Where things are.
#[derive(Debug)]
pub(crate) struct Layout {
    blobs: PathBuf,
    ingests: PathBuf,
    sha256: Directory,
    sha384: Directory,
    sha512: Directory,
}

impl Store {
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        let layout = Layout::make(&root)
            .map_err(|error| Error::io(format_args!("open {}", root.display()), &error))?;
        Ok(Self { layout: Arc::new(layout), locks: Locks::default() })
    }
}

impl Layout {
    fn make(root: &Path) -> io::Result<Self> {
        let (blobs, ingests) = (root.join("blobs"), root.join("ingest"));
        fs::create_dir_all(&ingests)?;
        ingest::sweep(&ingests)?;
        let directory = |algorithm: Algorithm| {
            let path = blobs.join(algorithm.name());
            fs::create_dir_all(&path)?;
            Directory::open(&path)
        };
        let layout = Self {
            sha256: directory(Algorithm::Sha256)?,
            sha384: directory(Algorithm::Sha384)?,
            sha512: directory(Algorithm::Sha512)?,
            blobs,
            ingests,
        };
        for path in [&layout.blobs, &root.to_path_buf()] {
            File::open(path)?.sync_all()?;
        }
        Ok(layout)
    }

    /// Returns where a blob is or would be.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm().name()).join(digest.hex())
    }

    /// Makes the names of an algorithm's blobs durable.
    pub(crate) fn sync(&self, algorithm: Algorithm) -> io::Result<()> {
        match algorithm {
            Algorithm::Sha256 => self.sha256.sync(),
            Algorithm::Sha384 => self.sha384.sync(),
            Algorithm::Sha512 => self.sha512.sync(),
        }
    }

    fn list(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            for entry in fs::read_dir(self.blobs.join(algorithm.name()))? {
                let entry = entry?;
                let name = entry.file_name();
                let digest = name.to_str().map(|hex| format!("{}:{hex}", algorithm.name()));
                let Some(Ok(digest)) = digest.map(|text| text.parse()) else {
                    tracing::warn!(path = %entry.path().display(), "not a blob");
                    continue;
                };
                match entry.metadata() {
                    Ok(metadata) => found.push((digest, metadata.len())),
                    // Removed since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    fn failed(&self, digest: &Digest, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format_args!("content {digest}")),
            _ => Error::io(format_args!("{}", self.blob(digest).display()), error),
        }
    }
}

#[async_trait]
impl Blobs for Store {
    async fn open(&self, digest: &Digest) -> Result<Arc<dyn Blob>> {
        // A look-up in two directories that are always cached is not worth a hop.
        let open = || -> io::Result<LocalBlob> {
            let file = File::open(self.layout.blob(digest))?;
            let size = file.metadata()?.len();
            Ok(LocalBlob::new(digest.clone(), file, size))
        };
        match open() {
            Ok(blob) => Ok(Arc::new(blob)),
            Err(error) => Err(self.layout.failed(digest, &error)),
        }
    }

    async fn size(&self, digest: &Digest) -> Result<u64> {
        match fs::metadata(self.layout.blob(digest)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(self.layout.failed(digest, &error)),
        }
    }

    async fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let layout = self.layout.clone();
        blocking(move || layout.list().map_err(|error| Error::io("list blobs", &error))).await
    }

    async fn remove(&self, digest: &Digest) -> Result<()> {
        let (layout, digest) = (self.layout.clone(), digest.clone());
        // Freeing the blocks of a large file takes a while.
        blocking(move || {
            fs::remove_file(layout.blob(&digest)).map_err(|error| layout.failed(&digest, &error))
        })
        .await
    }

    async fn writer(&self, key: &str, options: WriterOptions) -> Result<Box<dyn Writer>> {
        if key.is_empty() {
            return Err(Error::invalid("ref must not be empty"));
        }
        if let Some(expected) = &options.expected
            && self.layout.blob(expected).exists()
        {
            return Err(Error::already_exists(format_args!("content {expected}")));
        }
        let held = self.locks.take(key)?;
        let ingest = Ingest::new(&self.layout.ingests, key);
        let layout = self.layout.clone();
        let writer = blocking(move || LocalWriter::open(layout, ingest, held, options)).await?;
        Ok(Box::new(writer))
    }

    async fn status(&self, key: &str) -> Result<IngestStatus> {
        Ingest::new(&self.layout.ingests, key).status()
    }

    async fn ingests(&self) -> Result<Vec<String>> {
        let layout = self.layout.clone();
        blocking(move || {
            ingest::keys(&layout.ingests).map_err(|error| Error::io("list ingests", &error))
        })
        .await
    }

    async fn abort(&self, key: &str) -> Result<()> {
        let ingest = Ingest::new(&self.layout.ingests, key);
        blocking(move || ingest.remove()).await
    }
}
