//! Blobs read as what was compressed into them.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use stowd_core::content::Blob;
use stowd_core::{Error, Result};
use tokio::sync::mpsc;

/// How much of a blob is asked for at a time.
const PIECE: usize = 1 << 20;
/// How much plain data is handed on at a time.
const PLAIN: usize = 256 << 10;
/// How many pieces wait between two steps.
const QUEUE: usize = 2;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads a blob, gzip, zstd or neither, and hands its plain data on, piece by piece. A step of its
/// own each: reading, decompressing on another thread, and what `take` does.
///
/// # Errors
/// Those of reading and of `take`; `InvalidArgument` for what does not decompress.
pub(crate) async fn read_plain<T>(
    blob: Arc<dyn Blob>,
    take: impl AsyncFnOnce(&mut mpsc::Receiver<Bytes>) -> Result<T>,
) -> Result<T> {
    let (pieces, input) = mpsc::channel(QUEUE);
    let (output, mut plain) = mpsc::channel(QUEUE);
    let reading = async {
        let mut offset = 0;
        loop {
            let piece = blob.read_at(offset, PIECE).await?;
            offset += piece.len() as u64;
            // Without a receiver the decompression has failed, which is told by that.
            if piece.is_empty() || pieces.send(piece).await.is_err() {
                drop(pieces);
                return Ok::<(), Error>(());
            }
        }
    };
    let unpacking = tokio::task::spawn_blocking(move || decompress(input, &output));
    let taking = async {
        let taken = take(&mut plain).await;
        // Nobody waits for what is not taken.
        drop(plain);
        taken
    };
    let (read, unpacked, taken) = tokio::join!(reading, unpacking, taking);
    read?;
    unpacked
        .map_err(|error| Error::internal(format_args!("decompress: {error}")))?
        .map_err(|error| Error::invalid(format_args!("decompress: {error}")))?;
    taken
}

fn decompress(input: mpsc::Receiver<Bytes>, output: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut input = Pieces { queue: input, piece: Bytes::new() };
    let head = input.peek(ZSTD.len());
    let mut plain: Box<dyn Read> = if head.starts_with(&GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(input))
    } else if head.starts_with(&ZSTD) {
        Box::new(zstd::Decoder::new(input)?)
    } else {
        Box::new(input)
    };
    loop {
        let mut piece = vec![0; PLAIN];
        let mut filled = 0;
        while filled < PLAIN {
            match plain.read(&mut piece[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        piece.truncate(filled);
        if filled == 0 || output.blocking_send(piece.into()).is_err() {
            return Ok(());
        }
    }
}

/// What comes in, as a reader.
struct Pieces {
    queue: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    /// Returns the first bytes, fewer only where there are no more.
    fn peek(&mut self, count: usize) -> Bytes {
        while self.piece.len() < count {
            let Some(next) = self.queue.blocking_recv() else { break };
            self.piece = [&*self.piece, &*next].concat().into();
        }
        self.piece.slice(..count.min(self.piece.len()))
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.queue.blocking_recv() {
                Some(next) => self.piece = next,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
