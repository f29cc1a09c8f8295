//! Compressed streams, told by their first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use stowd_core::{Error, Result};

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How much is read ahead before inflating.
const BUFFER: usize = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all, or in a way that nobody knows here.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Tells a compression from a stream's first bytes.
    pub(super) fn of(start: &[u8]) -> Self {
        if start.starts_with(&GZIP) {
            return Self::Gzip;
        }
        // Skippable frames may come first: magic numbers 0x184D2A50 to 0x184D2A5F.
        let skippable = matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if start.starts_with(&ZSTD) || skippable { Self::Zstd } else { Self::Plain }
    }
}

type Whole = BufReader<Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>>;

/// Returns the stream's plain bytes.
pub(super) fn inflated(mut stream: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>> {
    let fault = |error: io::Error| Error::io("read archive", &error);
    let mut start = Vec::with_capacity(ZSTD.len());
    while start.len() < ZSTD.len() {
        let left = (ZSTD.len() - start.len()) as u64;
        if stream.by_ref().take(left).read_to_end(&mut start).map_err(fault)? == 0 {
            break;
        }
    }
    let compression = Compression::of(&start);
    let whole: Whole = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(stream));
    Ok(match compression {
        Compression::Plain => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::with_buffer(whole).map_err(fault)?)
        }
    })
}
