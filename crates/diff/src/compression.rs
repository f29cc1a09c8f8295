//! How a layer's tar is compressed: told by its media type and by its first bytes.

use std::io::{BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use stowd_core::descriptor::media_type;
use stowd_core::{Error, ErrorKind, Result};

/// How a tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// What a layer's media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// A tar as it is.
    Plain,
    /// Whatever the first bytes say. Docker's types were used for any compression, and some
    /// registries hold layers that are not what their type says.
    AskBytes,
}

/// Expands what is compressed.
pub(crate) enum Decoder<R: BufRead> {
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

/// Compresses.
pub(crate) enum Encoder<W: Write> {
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// How many of the first bytes tell the compression.
const MAGIC: usize = 4;

/// No operating system (RFC 1952, 2.3.1).
const UNKNOWN: u8 = 255;

impl Promise {
    /// Reads a layer's media type.
    pub(crate) fn of(kind: &str) -> Result<Self> {
        use media_type as known;
        // Parameters do not matter.
        let plain = kind.split(';').next().unwrap_or_default().trim();
        match plain {
            known::LAYER | known::LAYER_NONDISTRIBUTABLE => return Ok(Self::Plain),
            known::LAYER_GZIP
            | known::LAYER_ZSTD
            | known::DOCKER_LAYER
            | known::DOCKER_LAYER_GZIP
            | known::DOCKER_LAYER_ZSTD
            | known::DOCKER_LAYER_FOREIGN
            | known::DOCKER_LAYER_FOREIGN_GZIP => return Ok(Self::AskBytes),
            _ => {}
        }
        if let Some(suffix) = plain.strip_prefix(known::LAYER_NONDISTRIBUTABLE)
            && matches!(suffix, "+gzip" | "+zstd")
        {
            return Ok(Self::AskBytes);
        }
        if known::is_layer(plain) && plain.ends_with("+encrypted") {
            return Err(Error::not_implemented(format_args!(
                "no processor for media-type {kind:?}: encrypted layers"
            ))
            .hint("name a program that decrypts them in stream_processors"));
        }
        Err(Error::invalid(format_args!("no processor for media-type {kind:?}")))
    }

    /// Tells the compression of a layer that begins with these bytes.
    pub(crate) fn compression(self, start: &[u8]) -> Compression {
        match (self, &start[..start.len().min(MAGIC)]) {
            (Self::AskBytes, [0x1f, 0x8b, 0x08, ..]) => Compression::Gzip,
            (Self::AskBytes, [0x28, 0xb5, 0x2f, 0xfd]) => Compression::Zstd,
            // A frame to be skipped may come first; zstd:chunked writes them, at the end mostly.
            (Self::AskBytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18]) => Compression::Zstd,
            _ => Compression::Plain,
        }
    }
}

impl<R: BufRead> Decoder<R> {
    /// Returns a decoder; none for what is plain.
    pub(crate) fn new(compression: Compression, input: R) -> Result<Option<Self>> {
        Ok(match compression {
            Compression::Plain => None,
            Compression::Gzip => Some(Self::Gzip(Box::new(MultiGzDecoder::new(input)))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(input)
                    .map_err(|error| Error::internal(format_args!("zstd: {error}")))?;
                Some(Self::Zstd(decoder))
            }
        })
    }

    /// Fills the buffer as far as there is data, and returns how far.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            let result = match self {
                Self::Gzip(decoder) => decoder.read(&mut buffer[have..]),
                Self::Zstd(decoder) => decoder.read(&mut buffer[have..]),
            };
            match result {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.corrupt(&error)),
            }
        }
        Ok(have)
    }

    fn corrupt(&self, error: &std::io::Error) -> Error {
        let name = match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        };
        Error::new(
            ErrorKind::InvalidArgument,
            format_args!("malformed layer: its {name} data is corrupt or ends too early: {error}"),
        )
    }
}

impl<W: Write> Encoder<W> {
    /// Returns an encoder; none for what is plain. The same input gives the same output.
    pub(crate) fn new(compression: Compression, output: W) -> Result<Option<Self>> {
        let failed = |error| Error::internal(format_args!("zstd: {error}"));
        Ok(match compression {
            Compression::Plain => None,
            Compression::Gzip => {
                // Neither the time nor the machine it was made on.
                let header = flate2::GzBuilder::new().mtime(0).operating_system(UNKNOWN);
                Some(Self::Gzip(header.write(output, flate2::Compression::default())))
            }
            Compression::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(output, zstd::DEFAULT_COMPRESSION_LEVEL)
                        .map_err(failed)?;
                encoder.include_checksum(true).map_err(failed)?;
                Some(Self::Zstd(encoder))
            }
        })
    }

    /// Compresses a piece.
    pub(crate) fn put(&mut self, data: &[u8]) -> Result<()> {
        let result = match self {
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
        };
        result.map_err(|error| Error::io("compress layer", &error))
    }

    /// Ends the stream and returns the output.
    pub(crate) fn finish(self) -> Result<W> {
        let result = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        };
        result.map_err(|error| Error::io("compress layer", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_promise_and_bytes_tell() {
        let gzip = [0x1f, 0x8b, 8, 0];
        let zstd = [0x28, 0xb5, 0x2f, 0xfd];
        for known in [media_type::LAYER_GZIP, media_type::DOCKER_LAYER, media_type::LAYER_ZSTD] {
            let promise = Promise::of(known).unwrap();
            assert_eq!(promise.compression(&gzip), Compression::Gzip, "{known}");
            assert_eq!(promise.compression(&zstd), Compression::Zstd, "{known}");
            assert_eq!(promise.compression(b"etc/"), Compression::Plain, "{known}");
            assert_eq!(promise.compression(b""), Compression::Plain, "{known}");
        }
        assert_eq!(Promise::of(media_type::LAYER).unwrap(), Promise::Plain);
        assert_eq!(Promise::Plain.compression(&gzip), Compression::Plain);
    }

    #[test]
    fn unknown_types_are_refused() {
        let encrypted = format!("{}+encrypted", media_type::LAYER_GZIP);
        assert_eq!(Promise::of(&encrypted).unwrap_err().kind(), ErrorKind::NotImplemented);
        for unknown in ["", "application/x-cargo", "application/vnd.oci.image.config.v1+json"] {
            assert_eq!(Promise::of(unknown).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
