//! Applying a layer: from a blob or a stream to files, on threads side by side.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use stowd_core::content::{Blob, Store};
use stowd_core::descriptor::media_type;
use stowd_core::diff::{Apply, Source, Sync};
use stowd_core::digest::{Algorithm, Hasher};
use stowd_core::{Descriptor, Digest, Error, Result, Scope};

use crate::compression::{Compression, Decoder, Promise};
use crate::extract::{Extractor, Target};
use crate::flow::{self, GivenUp, Outcome, Pool, Sender, Stream};
use crate::processor::{self, Chain, Processor};
use crate::tar::read::Archive;

/// Applies a layer and returns what its tar is.
pub(crate) async fn apply(
    content: &Arc<dyn Store>,
    processors: &[Processor],
    scope: &Scope,
    apply: Apply,
    source: Source,
) -> Result<Descriptor> {
    let (chain, kind) = processor::chain(processors, &apply.layer.media_type)?;
    let promise = Promise::of(&kind)?;
    let feed = match source {
        Source::Stored => Feed::Blob {
            blob: content.open(scope, &apply.layer.digest).await?,
            runtime: tokio::runtime::Handle::current(),
            at: 0,
        },
        Source::Stream(stream) => Feed::Stream(stream),
    };
    let chain = match chain.as_slice() {
        [] => None,
        chain => Some(Chain::start(chain, &apply.payloads)?),
    };
    let given_up = GivenUp::default();
    let flag = given_up.flag();
    crate::blocking(move || {
        let target = Target::of(&apply.mounts, apply.placement)?;
        let work = Work { feed, chain, promise, layer: apply.layer, given_up: flag };
        work.run(target, apply.sync)
    })
    .await
}

/// Where a layer's bytes come from.
enum Feed {
    Blob { blob: Arc<dyn Blob>, runtime: tokio::runtime::Handle, at: u64 },
    Stream(Box<dyn Read + Send>),
}

struct Work {
    feed: Feed,
    /// The programs that the layer goes through, started.
    chain: Option<Chain>,
    /// What comes out of them, or the layer itself.
    promise: Promise,
    layer: Descriptor,
    given_up: Arc<AtomicBool>,
}

/// The hash that the layer's own digest is checked against.
enum Check {
    /// Of the bytes that are read.
    Bytes(Box<Hasher>),
    /// None here: they are the tar itself and hashed anyway, or checked by whoever made the stream.
    Elsewhere,
}

impl Work {
    fn run(self, target: Target, sync: Sync) -> Result<Descriptor> {
        let Self { mut feed, chain, promise, layer, given_up } = self;
        let stored = matches!(feed, Feed::Blob { .. });
        // Of what a program makes, nothing tells the digest of what it was given.
        let direct = chain.is_none();
        let (packed, mut unpack) = flow::channel();
        let (process, processed) = flow::channel();
        let (to_hash, hash) = flow::channel();
        let (to_write, write) = flow::channel();
        thread::scope(|scope| {
            let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
            let failed = |error| Error::io("start a thread", &error);
            let digest = layer.digest.clone();
            let reader = spawn("layer-read")
                .spawn_scoped(scope, move || {
                    let promise = direct.then_some(promise);
                    read(&mut feed, promise, stored.then_some(&digest), &packed, &given_up)
                })
                .map_err(failed)?;
            let processor = match chain {
                None => None,
                Some(chain) => {
                    let raw = std::mem::replace(&mut unpack, processed);
                    let run = move || chain.run(raw, &process);
                    Some(spawn("layer-process").spawn_scoped(scope, run).map_err(failed)?)
                }
            };
            let expander = spawn("layer-expand")
                .spawn_scoped(scope, move || expand(promise, &mut unpack, &to_hash, &to_write))
                .map_err(failed)?;
            let hasher =
                spawn("layer-hash").spawn_scoped(scope, move || sum(hash)).map_err(failed)?;
            // Its own mask, so that files are made with the very mode that they shall have.
            let written =
                stowd_sys::fs_context::run("layer-write", move || extract(target, write, sync))
                    .unwrap_or_else(|error| Err(failed(error)));
            // A stage that fails makes those after it see an early end, and those before it stop
            // without an error: the first error in the order of the stream is the cause.
            let read = crate::joined(reader)?;
            processor.map_or(Ok(Outcome::Done), crate::joined)?;
            crate::joined(expander)?;
            let (diff_id, size) = crate::joined(hasher)?;
            written?;
            if stored && direct && read == Compression::Plain {
                verify(&layer.digest, &diff_id)?;
            }
            Ok(Descriptor::new(media_type::LAYER, diff_id, size))
        })
    }
}

/// Reads the layer as it is, and checks its digest. Returns how it is compressed, as far as its type
/// promises something.
fn read(
    feed: &mut Feed,
    promise: Option<Promise>,
    digest: Option<&Digest>,
    packed: &Sender,
    given_up: &AtomicBool,
) -> Result<Compression> {
    let pool = Pool::default();
    let mut check = Check::Elsewhere;
    let mut compression = None;
    loop {
        if given_up.load(Ordering::Relaxed) {
            return Err(Error::canceled("the caller went away"));
        }
        let Some(chunk) = pool.chunk(|buffer| feed.fill(buffer))? else { break };
        let known = *compression.get_or_insert_with(|| {
            let found = promise.map_or(Compression::Plain, |promise| promise.compression(&chunk));
            if let Some(digest) = digest
                && !(promise.is_some()
                    && found == Compression::Plain
                    && digest.algorithm() == Algorithm::Sha256)
            {
                check = Check::Bytes(Box::new(digest.algorithm().hasher()));
            }
            found
        });
        if let Check::Bytes(hasher) = &mut check {
            hasher.update(&chunk);
        }
        if packed.send(chunk).is_err() {
            return Ok(known);
        }
    }
    if let (Check::Bytes(hasher), Some(digest)) = (&check, digest) {
        verify(digest, &hasher.digest())?;
    }
    Ok(compression.unwrap_or(Compression::Plain))
}

fn verify(wanted: &Digest, found: &Digest) -> Result<()> {
    if wanted.algorithm() != found.algorithm() || wanted == found {
        return Ok(());
    }
    Err(Error::data_loss(format_args!("blob {wanted} has changed: its content is {found}"))
        .hint("remove the blob and fetch it again"))
}

impl Feed {
    /// Fills the buffer as far as there is data.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match self.read(&mut buffer[have..])? {
                0 => break,
                count => have += count,
            }
        }
        Ok(have)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Stream(stream) => loop {
                match stream.read(buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    result => return result.map_err(|error| Error::io("read layer", &error)),
                }
            },
            Self::Blob { blob, runtime, at } => {
                let count = match blob.file() {
                    Some(file) => std::os::unix::fs::FileExt::read_at(file, buffer, *at)
                        .map_err(|error| Error::io("read layer", &error))?,
                    None => {
                        let data = runtime.block_on(blob.read_at(*at, buffer.len()))?;
                        let count = data.len().min(buffer.len());
                        buffer[..count].copy_from_slice(&data[..count]);
                        count
                    }
                };
                *at += count as u64;
                Ok(count)
            }
        }
    }
}

/// Expands the layer and hands the tar on to be hashed and written.
fn expand(promise: Promise, packed: &mut Stream, hash: &Sender, write: &Sender) -> Result<Outcome> {
    let pass_on = |chunk: Arc<flow::Chunk>| {
        hash.send(Arc::clone(&chunk)).is_ok() && write.send(chunk).is_ok()
    };
    let compression = packed.peek().map_or(Compression::Plain, |start| promise.compression(start));
    let Some(mut decoder) = Decoder::new(compression, &mut *packed)? else {
        while let Some(chunk) = packed.take() {
            if !pass_on(chunk) {
                return Ok(Outcome::Unwanted);
            }
        }
        return Ok(Outcome::Done);
    };
    let pool = Pool::default();
    while let Some(chunk) = pool.chunk(|buffer| decoder.fill(buffer))? {
        if !pass_on(chunk) {
            return Ok(Outcome::Unwanted);
        }
    }
    Ok(Outcome::Done)
}

fn sum(mut tar: Stream) -> Result<(Digest, u64)> {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut size = 0;
    while let Some(chunk) = tar.next() {
        hasher.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok((hasher.digest(), size))
}

fn extract(target: Target, tar: Stream, sync: Sync) -> Result<()> {
    let mut archive = Archive::new(tar);
    let mut extractor = Extractor::new(target)?;
    while let Some(entry) = archive.next()? {
        extractor.add(&entry, &mut archive)?;
    }
    extractor.finish(sync)?;
    // What follows the archive's end belongs to the diff id and must be whole too.
    let mut rest = archive.into_input();
    while Stream::take(&mut rest).is_some() {}
    Ok(())
}
