//! The serving end of a connection, without I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::frame::{Decoder, Flags, Frame, Kind, Oversized, Received, encode};
use super::{KeyValue, Request, Response};
use crate::rpc::Status;
use crate::status::{self, Code};

/// Tag of the payload in a [`Response`].
const PAYLOAD: u32 = 2;

/// A request to answer, once, by [`ServerConnection::reply`] or [`ServerConnection::refuse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The stream to answer on.
    pub stream: u32,
    /// Full name of the service.
    pub service: String,
    /// Name of the method alone.
    pub method: String,
    /// The encoded argument: a slice of the receive buffer.
    pub payload: Bytes,
    /// How long the caller waits, if it said.
    pub timeout: Option<Duration>,
    /// What the caller sent beside the argument, see [`super::metadata`].
    pub metadata: Vec<KeyValue>,
    /// Empty for a unary call.
    pub flags: Flags,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A call.
    Call(Call),
    /// A message on a stream that a call with [`Flags::REMOTE_OPEN`] opened.
    Data {
        /// The stream.
        stream: u32,
        /// The encoded message; absent if the frame only ends the client's side.
        data: Option<Bytes>,
        /// The client will send no more.
        last: bool,
    },
}

/// One client's connection, as its server sees it.
///
/// Bytes go in by [`received`](Self::received) (or are read into [`buffer`](Self::buffer)), calls
/// come out of [`next`](Self::next); answers collect in [`output`](Self::output) until they are
/// [`wrote`](Self::wrote). What breaks the protocol is answered here. Answers may be given in any
/// order, and for streams that are gone.
#[derive(Debug, Default)]
pub struct ServerConnection {
    decoder: Decoder,
    output: BytesMut,
    last: u32,
    /// Streams whose client still sends.
    open: BTreeSet<u32>,
}

impl ServerConnection {
    /// Makes a fresh connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub fn received(&mut self, bytes: &[u8]) {
        self.decoder.received(bytes);
    }

    /// The buffer that received bytes go to, for callers that read straight into it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.decoder.buffer()
    }

    /// Takes the next call or stream message out, if one is there in full.
    #[expect(clippy::should_implement_trait, reason = "None means: not yet")]
    pub fn next(&mut self) -> Option<Incoming> {
        loop {
            let refused = match self.decoder.next()? {
                Received::Oversized(oversized) => {
                    Err((oversized.stream, Code::ResourceExhausted, oversized.to_string()))
                }
                Received::Frame(frame) => self.accept(frame),
            };
            match refused {
                Ok(Some(incoming)) => return Some(incoming),
                Ok(None) => {}
                Err((stream, code, message)) => self.refuse(stream, status::new(code, message)),
            }
        }
    }

    /// Answers a call with a message.
    pub fn reply(&mut self, stream: u32, message: &impl Message) {
        self.open.remove(&stream);
        let sent =
            encode(&mut self.output, stream, Kind::Response, Flags::default(), &Reply(message));
        if let Err(oversized) = sent {
            self.too_long(stream, &oversized);
        }
    }

    /// Answers a call with a message that is encoded already.
    pub fn reply_encoded(&mut self, stream: u32, payload: Bytes) {
        self.respond(stream, &Response { status: None, payload });
    }

    /// Answers a call with an error.
    pub fn refuse(&mut self, stream: u32, status: Status) {
        self.respond(stream, &Response { status: Some(status), payload: Bytes::new() });
    }

    /// Sends a message on a call's stream, for calls that are not unary.
    ///
    /// # Errors
    /// [`Oversized`] when the message is too long; nothing is sent.
    pub fn send(&mut self, stream: u32, message: &impl Message) -> Result<(), Oversized> {
        encode(&mut self.output, stream, Kind::Data, Flags::default(), message)
    }

    /// Ends a stream of messages without a last one.
    pub fn finish(&mut self, stream: u32) {
        self.open.remove(&stream);
        let flags = Flags::REMOTE_CLOSED | Flags::NO_DATA;
        // Without data it cannot be too long.
        let _ =
            Frame { stream, kind: Kind::Data, flags, data: Bytes::new() }.encode(&mut self.output);
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Drops output that was written.
    pub fn wrote(&mut self, count: usize) {
        self.output.advance(count.min(self.output.len()));
    }

    /// Takes all output away.
    pub fn take_output(&mut self) -> BytesMut {
        self.output.split()
    }

    fn accept(&mut self, frame: Frame) -> Result<Option<Incoming>, (u32, Code, String)> {
        let Frame { stream, kind, flags, data } = frame;
        let refuse = |message: &str| Err((stream, Code::InvalidArgument, message.to_owned()));
        if stream % 2 != 1 {
            return refuse("StreamID must be odd for client initiated streams");
        }
        match kind {
            Kind::Request if stream <= self.last => {
                refuse("StreamID cannot be re-used and must increment")
            }
            Kind::Request => {
                self.last = stream;
                let request = match Request::decode(data) {
                    Ok(request) => request,
                    Err(error) => return refuse(&format!("unmarshal request error: {error}")),
                };
                if flags.has(Flags::REMOTE_OPEN) {
                    self.open.insert(stream);
                }
                Ok(Some(Incoming::Call(Call {
                    stream,
                    service: request.service,
                    method: request.method,
                    payload: request.payload,
                    // No limit is 0; a limit that has passed already still is one.
                    timeout: (request.timeout_nano != 0)
                        .then(|| Duration::from_nanos(request.timeout_nano.max(0).unsigned_abs())),
                    metadata: request.metadata,
                    flags,
                })))
            }
            Kind::Data if !self.open.contains(&stream) => refuse("StreamID is no longer active"),
            Kind::Data => {
                let last = flags.has(Flags::REMOTE_CLOSED);
                if last {
                    self.open.remove(&stream);
                }
                let data = (!flags.has(Flags::NO_DATA)).then_some(data);
                Ok(Some(Incoming::Data { stream, data, last }))
            }
            Kind::Response | Kind::Other(_) => Ok(None),
        }
    }

    fn respond(&mut self, stream: u32, response: &Response) {
        self.open.remove(&stream);
        if let Err(oversized) =
            encode(&mut self.output, stream, Kind::Response, Flags::default(), response)
        {
            self.too_long(stream, &oversized);
        }
    }

    fn too_long(&mut self, stream: u32, oversized: &Oversized) {
        let status = status::new(Code::ResourceExhausted, oversized.to_string());
        let response = Response { status: Some(status), payload: Bytes::new() };
        // A status of one short sentence always fits.
        let _ = encode(&mut self.output, stream, Kind::Response, Flags::default(), &response);
    }
}

/// A [`Response`] whose payload is encoded in place rather than into a buffer of its own.
#[derive(Debug)]
struct Reply<'a, M>(&'a M);

impl<M: Message> Message for Reply<'_, M> {
    fn encode_raw(&self, buffer: &mut impl bytes::BufMut) {
        let length = self.0.encoded_len();
        if length > 0 {
            encode_key(PAYLOAD, WireType::LengthDelimited, buffer);
            encode_varint(length as u64, buffer);
            self.0.encode_raw(buffer);
        }
    }

    fn encoded_len(&self) -> usize {
        match self.0.encoded_len() {
            0 => 0,
            length => key_len(PAYLOAD) + encoded_len_varint(length as u64) + length,
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        // Never decoded into: a borrowed message has no place for it.
        prost::encoding::skip_field(wire_type, tag, buffer, context)
    }

    fn clear(&mut self) {}
}
