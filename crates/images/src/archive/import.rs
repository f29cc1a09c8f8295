//! From a stream into the content store.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use stowd_core::content::{Commit, Store, WriterOptions};
use stowd_core::descriptor::media_type;
use stowd_core::digest::Algorithm;
use stowd_core::{Descriptor, Digest, Error, ErrorKind, Result, Scope};
use tokio::runtime::Handle;

use super::inflate::inflated;
use super::tape::{Entry, Kind, Tape};
use super::{DOCKER_FILE, DockerImage, INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, Layout, docker};
use crate::document::{Document, MAX_SIZE};
use crate::{links, put};

/// How much of a blob is read before it is handed on.
const PIECE: usize = 1 << 20;

/// Reads an archive into the content store and returns its index.
///
/// An archive with a file `oci-layout` is an OCI layout, also when it has Docker's `manifest.json`
/// beside it; its `index.json` is stored as it is. For one of Docker alone manifests and an index
/// are made. Whether the archive holds all that the index leads to is the caller's to see: blobs
/// may be in the store already.
///
/// Everything is stored under the scope's lease, which the caller should have taken.
///
/// # Errors
/// `InvalidArgument`: the stream is not such an archive, is damaged or cut off, a name in it leads
/// outside, a blob is not what its name says. Else those of the store.
pub async fn import(
    store: Arc<dyn Store>,
    scope: &Scope,
    stream: Box<dyn Read + Send>,
) -> Result<Descriptor> {
    let mut importer = Importer {
        store,
        scope: scope.clone(),
        handle: Handle::current(),
        run: run_name(),
        count: 0,
        found: Found::default(),
    };
    // Reading and inflating block, and keep one thread busy from the first byte to the last.
    let importer = tokio::task::spawn_blocking(move || importer.read(stream).map(|()| importer))
        .await
        .map_err(|error| Error::internal(format_args!("import ended: {error}")))??;
    importer.finish().await
}

/// What was found in an archive.
#[derive(Default)]
pub(super) struct Found {
    layout: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    docker: Option<Vec<u8>>,
    /// The files that were stored, by name.
    pub(super) blobs: HashMap<String, Descriptor>,
    /// Names that lead to other names.
    links: HashMap<String, String>,
}

impl Found {
    /// Returns the blob that a name leads to.
    pub(super) fn blob(&self, name: &str) -> Option<&Descriptor> {
        let name = name.strip_prefix("./").unwrap_or(name);
        // `docker save` links layers that several images share, once and not further.
        self.blobs.get(name).or_else(|| self.blobs.get(self.links.get(name)?))
    }
}

struct Importer {
    store: Arc<dyn Store>,
    scope: Scope,
    handle: Handle,
    run: String,
    count: usize,
    found: Found,
}

impl Importer {
    fn read(&mut self, stream: Box<dyn Read + Send>) -> Result<()> {
        let mut tape = Tape::new(inflated(stream)?);
        let mut any = false;
        while let Some(entry) = tape.next()? {
            any = true;
            match entry.kind {
                Kind::Other => continue,
                Kind::Link(to) => {
                    self.found.links.insert(entry.name, to);
                    continue;
                }
                Kind::File => {}
            }
            let whole = match entry.name.as_str() {
                LAYOUT_FILE => &mut self.found.layout,
                INDEX_FILE => &mut self.found.index,
                DOCKER_FILE => &mut self.found.docker,
                _ => {
                    self.store(&mut tape, entry)?;
                    continue;
                }
            };
            *whole = Some(tape.read_all(&entry.name, MAX_SIZE)?);
        }
        tape.drain();
        if any { Ok(()) } else { Err(Error::invalid("archive is empty")) }
    }

    /// Stores a file of the archive, unless no image can need it.
    fn store(&mut self, tape: &mut Tape<Box<dyn Read + Send>>, entry: Entry) -> Result<()> {
        let name = entry.name;
        let expected = match name.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) {
            // Nothing can refer to a digest that is none, or that cannot be checked.
            Some((algorithm, hex)) => match format!("{algorithm}:{hex}").parse::<Digest>() {
                Ok(digest) => Some(digest),
                Err(_) => return Ok(()),
            },
            None if is_chaff(&name) => return Ok(()),
            None => None,
        };
        self.count += 1;
        let reference = format!("{}-{}", self.run, self.count);
        let digest = match self.ingest(tape, entry.size, &reference, expected) {
            Ok(digest) => digest,
            Err(error) => {
                let _ = self.handle.block_on(self.store.abort(&self.scope, &reference));
                return Err(error.context(format_args!("failed to ingest {name:?}")));
            }
        };
        self.found.blobs.insert(name, Descriptor::new("", digest, entry.size));
        Ok(())
    }

    /// Copies the current entry into a blob. The stream is read outside of `block_on`: it may be fed
    /// by a client and wait for it in its own way.
    fn ingest(
        &self,
        tape: &mut Tape<Box<dyn Read + Send>>,
        size: u64,
        reference: &str,
        expected: Option<Digest>,
    ) -> Result<Digest> {
        let options = WriterOptions {
            reference: reference.to_owned(),
            total: Some(size),
            expected: expected.clone(),
        };
        let opened = self.handle.block_on(self.store.writer(&self.scope, options));
        let mut writer = match (opened, &expected) {
            (Ok(writer), _) => writer,
            (Err(error), Some(digest)) if error.is(ErrorKind::AlreadyExists) => {
                return Ok(digest.clone());
            }
            (Err(error), _) => return Err(error),
        };
        let mut hasher = Algorithm::Sha256.hasher();
        let counts_itself = expected.is_some() || writer.digest().is_some();
        // The store may have the whole blob for another namespace.
        let mut at = writer.status().offset;
        while at < size {
            let left = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; left];
            tape.read(&mut piece)?;
            if !counts_itself {
                hasher.update(&piece);
            }
            at += left as u64;
            self.handle.block_on(writer.write(Bytes::from(piece)))?;
        }
        let digest = match (expected, writer.digest()) {
            (Some(digest), _) => digest,
            (None, Some(digest)) if counts_itself => digest,
            (None, _) => hasher.digest(),
        };
        let commit =
            Commit { size: Some(size), expected: Some(digest.clone()), ..Commit::default() };
        match self.handle.block_on(writer.commit(commit)) {
            Ok(_) => Ok(digest),
            Err(error) if error.is(ErrorKind::AlreadyExists) => Ok(digest),
            // It is the archive that is wrong, not the state of the store.
            Err(error) if error.is(ErrorKind::FailedPrecondition) => {
                Err(Error::invalid(error.message()))
            }
            Err(error) => Err(error),
        }
    }

    async fn finish(self) -> Result<Descriptor> {
        let Self { store, scope, run, found, .. } = self;
        let Some(layout) = &found.layout else {
            let Some(docker) = &found.docker else {
                return Err(Error::invalid("unrecognized image format")
                    .hint("the archive has neither oci-layout nor manifest.json"));
            };
            let images: Vec<DockerImage> = parse(DOCKER_FILE, docker)?;
            return docker::index(&*store, &scope, &run, &images, &found).await;
        };
        let layout: Layout = parse(LAYOUT_FILE, layout)?;
        if layout.version != LAYOUT_VERSION {
            return Err(Error::invalid(format_args!(
                "unsupported OCI version {:?}",
                layout.version
            )));
        }
        let data = found.index.ok_or_else(|| {
            Error::invalid(format_args!("missing {INDEX_FILE} in OCI layout {LAYOUT_VERSION}"))
        })?;
        let index = Descriptor::new(media_type::INDEX, Digest::of(&data), data.len() as u64);
        let children = Document::parse(&index, &data)
            .map_err(|error| error.context(INDEX_FILE))?
            .into_children();
        let labels = links::to(&children);
        put(&*store, &scope, &format!("{run}-index"), &index.digest, data.into(), labels).await?;
        Ok(index)
    }
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, data: &[u8]) -> Result<T> {
    serde_json::from_slice(data)
        .map_err(|error| Error::invalid(format_args!("{name} in the archive: {error}")))
}

/// Says whether a file belongs to the oldest form of `docker save`, which nothing reads any more.
fn is_chaff(name: &str) -> bool {
    name == "repositories" || name.ends_with("/VERSION") || name.ends_with("/json")
}

/// Returns a name for this import's ingests, so that two at once do not meet.
fn run_name() -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("import-{}-{}", now.as_nanos(), RUNS.fetch_add(1, Ordering::Relaxed))
}
