//! Comparing two trees: from files to a blob, on threads side by side.

mod layer;
mod mounted;
mod trees;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::SystemTime;

use bytes::Bytes;
use stowd_core::content::{Commit, Store, Writer, WriterOptions};
use stowd_core::descriptor::media_type;
use stowd_core::diff::Compare;
use stowd_core::digest::Algorithm;
use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Digest, Error, Labels, Result, Scope, labels};
use tokio::sync::mpsc;

use crate::compression::{Compression, Encoder};
use crate::flow::{self, Chunk, Filler, GivenUp, Outcome, Stream};
use layer::Layer;
use trees::{Trees, View};
use walk::Walk;

/// Writes the layer that leads from `lower` to `upper` into the content store.
pub(crate) async fn compare(
    content: &Arc<dyn Store>,
    scope: &Scope,
    lower: &[Mount],
    upper: &[Mount],
    compare: Compare,
) -> Result<Descriptor> {
    let form = Form::of(&compare)?;
    let mounts = (lower.to_vec(), upper.to_vec());
    let trees = match open(&mounts, View::Unmounted).await {
        Err(Fault::Unusual) => open(&mounts, View::Mounted).await,
        opened => opened,
    };
    let trees = trees.map_err(Error::from)?;
    let mut ingest = Ingest::open(content, scope, &compare.reference).await?;
    let written = match write(&mut ingest, form, trees).await {
        // So late that something of the layer may be written.
        Err(Fault::Unusual) => again(&mut ingest, form, &mounts).await,
        written => written,
    };
    match written {
        Ok(diff_id) => ingest.commit(form, diff_id, compare.labels).await,
        Err(fault) => {
            ingest.abandon().await;
            Err(fault.into())
        }
    }
}

/// Why two trees could not be compared.
#[derive(Debug)]
enum Fault {
    /// The directories alone do not tell what the tree shows; the kernel must be asked.
    Unusual,
    Failed(Error),
}

/// What a layer shall be.
#[derive(Clone, Copy, Debug)]
struct Form {
    media_type: &'static str,
    compression: Compression,
    latest: Option<SystemTime>,
}

/// The ingest that a layer is written to.
struct Ingest<'a> {
    content: &'a Arc<dyn Store>,
    scope: &'a Scope,
    writer: Box<dyn Writer>,
    reference: String,
    /// Whether the caller chose the name, and may look for it later.
    is_named: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Failed(error) => error,
            Fault::Unusual => Self::internal("the kernel's own view of a tree has to be explained"),
        }
    }
}

impl Form {
    fn of(compare: &Compare) -> Result<Self> {
        let (media_type, compression) = match compare.media_type.as_str() {
            "" | media_type::LAYER_GZIP => (media_type::LAYER_GZIP, Compression::Gzip),
            media_type::LAYER => (media_type::LAYER, Compression::Plain),
            media_type::LAYER_ZSTD => (media_type::LAYER_ZSTD, Compression::Zstd),
            media_type::DOCKER_LAYER_GZIP => (media_type::DOCKER_LAYER_GZIP, Compression::Gzip),
            other => {
                return Err(Error::not_implemented(format_args!(
                    "unsupported diff media type: {other}"
                )));
            }
        };
        Ok(Self { media_type, compression, latest: compare.source_date_epoch })
    }
}

impl<'a> Ingest<'a> {
    /// Opens an ingest. What an earlier comparison left under the same name is thrown away.
    async fn open(content: &'a Arc<dyn Store>, scope: &'a Scope, name: &str) -> Result<Self> {
        let is_named = !name.is_empty();
        let reference = if is_named { name.to_owned() } else { unique() };
        let options = WriterOptions { reference: reference.clone(), ..WriterOptions::default() };
        let mut writer = content.writer(scope, options).await?;
        if is_named {
            writer.truncate(0).await?;
        }
        Ok(Self { content, scope, writer, reference, is_named })
    }

    /// Turns what was written into a blob that knows the digest of its tar.
    async fn commit(
        mut self,
        form: Form,
        diff_id: Digest,
        mut labels: Labels,
    ) -> Result<Descriptor> {
        let (size, digest) = (self.writer.status().offset, self.writer.digest());
        labels.insert(labels::UNCOMPRESSED.to_owned(), diff_id.as_str().to_owned());
        let commit = Commit { size: Some(size), expected: digest.clone(), labels };
        let digest = match (self.writer.commit(commit).await, digest) {
            (Ok(digest), _) => digest,
            (Err(error), Some(digest)) if error.is_already_exists() => {
                complete(self.content, self.scope, &digest, &diff_id).await?;
                digest
            }
            (Err(error), _) => {
                self.abandon().await;
                return Err(error);
            }
        };
        Ok(Descriptor::new(form.media_type, digest, size))
    }

    /// Gives up. A named ingest stays, as after any writer that stopped.
    async fn abandon(self) {
        let Self { content, scope, writer, reference, is_named } = self;
        drop(writer);
        if !is_named && let Err(error) = content.abort(scope, &reference).await {
            tracing::warn!(%error, reference, "ingest of a failed comparison not removed");
        }
    }
}

/// Tells a blob that was there before what its tar is, if nobody did.
async fn complete(
    content: &Arc<dyn Store>,
    scope: &Scope,
    digest: &Digest,
    diff_id: &Digest,
) -> Result<()> {
    let mut info = content.info(scope, digest).await?;
    let key = labels::UNCOMPRESSED;
    if info.labels.contains_key(key) {
        return Ok(());
    }
    info.labels.insert(key.to_owned(), diff_id.as_str().to_owned());
    content.update(scope, info, &[format!("labels.{key}")]).await.map(drop)
}

async fn open((lower, upper): &(Vec<Mount>, Vec<Mount>), view: View) -> Result<Trees, Fault> {
    let (lower, upper) = (lower.clone(), upper.clone());
    crate::blocking(move || Ok(Trees::open(&lower, &upper, view))).await?
}

async fn again(
    ingest: &mut Ingest<'_>,
    form: Form,
    mounts: &(Vec<Mount>, Vec<Mount>),
) -> Result<Digest, Fault> {
    let trees = open(mounts, View::Mounted).await?;
    ingest.writer.truncate(0).await?;
    write(ingest, form, trees).await
}

/// How many pieces may wait for the content store.
const DEPTH: usize = 8;

/// Writes the layer into an ingest and returns the digest of its tar.
async fn write(ingest: &mut Ingest<'_>, form: Form, trees: Trees) -> Result<Digest, Fault> {
    let (blob, pieces) = mpsc::channel(DEPTH);
    let given_up = GivenUp::default();
    let flag = given_up.flag();
    let job = crate::blocking(move || Ok(run(form, trees, blob, &flag)));
    let (taken, made) = tokio::join!(take(&mut *ingest.writer, pieces, &given_up), job);
    // The store's error first: what the threads say then is only that nobody takes what they make.
    taken?;
    made?
}

async fn take(
    writer: &mut dyn Writer,
    mut pieces: mpsc::Receiver<Bytes>,
    given_up: &GivenUp,
) -> Result<()> {
    while let Some(piece) = pieces.recv().await {
        if let Err(error) = writer.write(piece).await {
            given_up.give_up();
            return Err(error);
        }
    }
    Ok(())
}

/// Walks, hashes and compresses, each on a thread of its own.
fn run(
    form: Form,
    trees: Trees,
    blob: mpsc::Sender<Bytes>,
    given_up: &AtomicBool,
) -> Result<Digest, Fault> {
    let (to_hash, mut hash) = flow::channel();
    let (to_compress, compress) = flow::channel();
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let failed = |error| Error::io("start a thread", &error);
        let hasher = spawn("layer-hash")
            .spawn_scoped(scope, move || {
                let mut hasher = Algorithm::Sha256.hasher();
                while let Some(chunk) = hash.next() {
                    hasher.update(&chunk);
                }
                Ok(hasher.digest())
            })
            .map_err(failed)?;
        let packer = spawn("layer-compress")
            .spawn_scoped(scope, move || pack(form.compression, compress, &blob))
            .map_err(failed)?;
        let walked = {
            let tar = Filler::new(move |chunk| {
                let taken = to_hash.send(Arc::clone(&chunk)).and_then(|()| to_compress.send(chunk));
                if taken.is_ok() { Outcome::Done } else { Outcome::Unwanted }
            });
            let walk = Walk::new(trees, Layer::new(tar, form.latest), given_up);
            walk.run().and_then(|tar| Ok(tar.finish()?))
        };
        // A stage that fails makes those before it stop, and what they say then is not the cause.
        crate::joined(packer)?;
        let diff_id = crate::joined(hasher)?;
        walked?;
        Ok(diff_id)
    })
}

/// Compresses the tar and hands it on.
fn pack(compression: Compression, mut tar: Stream, blob: &mpsc::Sender<Bytes>) -> Result<()> {
    let hand_on = |chunk| match blob.blocking_send(Bytes::from_owner(Piece(chunk))) {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Unwanted,
    };
    let Some(mut encoder) = Encoder::new(compression, Filler::new(hand_on))? else {
        while let Some(chunk) = tar.next() {
            if hand_on(chunk) == Outcome::Unwanted {
                break;
            }
        }
        return Ok(());
    };
    while let Some(chunk) = tar.next() {
        encoder.put(&chunk)?;
    }
    encoder.finish()?.finish()
}

/// Returns a name that no other ingest has.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-compare-{}-{next}", now.as_nanos(), std::process::id())
}

/// A chunk as the content store takes it.
struct Piece(Arc<Chunk>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
