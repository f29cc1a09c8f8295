//! Bytes and frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Length of a frame's header.
pub const HEADER: usize = 10;

/// The most data in one frame.
pub const MAX_DATA: usize = 4 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens a stream: a [`super::Request`].
    Request,
    /// Ends a stream: a [`super::Response`].
    Response,
    /// A message inside a stream.
    Data,
    /// Of a later protocol; to be ignored.
    Other(u8),
}

/// A frame's flags, each from the sender's view of itself as the remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// Its data: a slice of the receive buffer.
    pub data: Bytes,
}

/// What a [`Decoder`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole frame.
    Frame(Frame),
    /// The header of a frame with more data than allowed. The data will be skipped; the stream is
    /// to be ended with an error.
    Oversized(Oversized),
}

/// A frame with more data than [`MAX_DATA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message length {length} exceed maximum message size of {MAX_DATA}")]
pub struct Oversized {
    /// The stream it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
    /// How much data it has.
    pub length: usize,
}

/// Cuts received bytes into frames. Holds at most one frame's bytes beyond what the caller puts in
/// at once.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    skip: usize,
}

/// Appends a frame to `out`, with a message as its data.
///
/// # Errors
/// [`Oversized`] when the message is too long; `out` is as it was.
pub fn encode(
    out: &mut BytesMut,
    stream: u32,
    kind: Kind,
    flags: Flags,
    data: &impl Message,
) -> Result<(), Oversized> {
    let length = data.encoded_len();
    put_header(out, stream, kind, flags, length)?;
    // The buffer grows as needed, the only way for this to fail is a buffer that cannot.
    data.encode_raw(out);
    Ok(())
}

impl Flags {
    /// No more will come from the sender.
    pub const REMOTE_CLOSED: Self = Self(1);
    /// More will come from the sender; on requests only.
    pub const REMOTE_OPEN: Self = Self(2);
    /// The frame ends the stream without a message; an empty frame without it is an empty message.
    pub const NO_DATA: Self = Self(4);

    /// Says whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Kind {
    /// Returns the byte that stands for it.
    pub fn byte(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Data => 3,
            Self::Other(byte) => byte,
        }
    }
}

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            other => Self::Other(other),
        }
    }
}

impl Frame {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// [`Oversized`] when the data is too long; `out` is as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Oversized> {
        put_header(out, self.stream, self.kind, self.flags, self.data.len())?;
        out.put_slice(&self.data);
        Ok(())
    }
}

impl Decoder {
    /// Adds received bytes.
    pub fn received(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The buffer that received bytes go to, for callers that read straight into it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes the next frame out, if it is there in full.
    #[expect(clippy::should_implement_trait, reason = "None means: not yet")]
    pub fn next(&mut self) -> Option<Received> {
        if self.skip > 0 {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
        }
        let mut header = self.buffer.get(..HEADER)?;
        let length = header.get_u32() as usize;
        let stream = header.get_u32();
        let kind = Kind::from(header.get_u8());
        let flags = Flags(header.get_u8());
        if length > MAX_DATA {
            self.buffer.advance(HEADER);
            self.skip = length;
            return Some(Received::Oversized(Oversized { stream, kind, length }));
        }
        if self.buffer.len() < HEADER + length {
            self.buffer.reserve(HEADER + length - self.buffer.len());
            return None;
        }
        self.buffer.advance(HEADER);
        let data = self.buffer.split_to(length).freeze();
        Some(Received::Frame(Frame { stream, kind, flags, data }))
    }
}

fn put_header(
    out: &mut BytesMut,
    stream: u32,
    kind: Kind,
    flags: Flags,
    length: usize,
) -> Result<(), Oversized> {
    let fits = u32::try_from(length).ok().filter(|_| length <= MAX_DATA);
    let Some(length) = fits else { return Err(Oversized { stream, kind, length }) };
    out.reserve(HEADER + length as usize);
    out.put_u32(length);
    out.put_u32(stream);
    out.put_u8(kind.byte());
    out.put_u8(flags.0);
    Ok(())
}
