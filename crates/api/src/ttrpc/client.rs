//! The calling end of a connection, without I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::frame::{Decoder, Flags, Frame, Kind, Oversized, Received, encode};
use super::{KeyValue, Request, Response};
use crate::rpc::Status;
use crate::status::{self, Code};

/// A connection to a server, as its client sees it. Calls are unary.
///
/// Calls collect in [`output`](Self::output) until they are [`wrote`](Self::wrote); bytes go in by
/// [`received`](Self::received) (or are read into [`buffer`](Self::buffer)), answers come out of
/// [`next`](Self::next) in the order in which the server gave them.
#[derive(Debug)]
pub struct ClientConnection {
    decoder: Decoder,
    output: BytesMut,
    next: u32,
    /// Streams that wait for their answer.
    waiting: BTreeSet<u32>,
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientConnection {
    /// Makes a fresh connection.
    pub fn new() -> Self {
        Self {
            decoder: Decoder::default(),
            output: BytesMut::new(),
            next: 1,
            waiting: BTreeSet::new(),
        }
    }

    /// Queues a call without metadata and time limit, and returns its stream.
    ///
    /// # Errors
    /// As [`call_encoded`](Self::call_encoded).
    pub fn call(
        &mut self,
        service: &str,
        method: &str,
        message: &impl Message,
    ) -> Result<u32, Status> {
        self.call_encoded(service, method, message.encode_to_vec().into(), None, Vec::new())
    }

    /// Queues a call and returns its stream. The time limit is only passed on: whoever waits must
    /// keep it, and [`forget`](Self::forget) the call when it is over.
    ///
    /// # Errors
    /// `ResourceExhausted` when the message is too long or the connection has run out of streams;
    /// nothing is queued.
    pub fn call_encoded(
        &mut self,
        service: &str,
        method: &str,
        payload: Bytes,
        timeout: Option<Duration>,
        metadata: Vec<KeyValue>,
    ) -> Result<u32, Status> {
        let stream = self.next;
        let Some(next) = stream.checked_add(2) else {
            return Err(status::new(Code::ResourceExhausted, "ttrpc: no stream ids left"));
        };
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: timeout.map_or(0, nanoseconds),
            metadata,
        };
        encode(&mut self.output, stream, Kind::Request, Flags::default(), &request)
            .map_err(|error| status::new(Code::ResourceExhausted, error.to_string()))?;
        self.next = next;
        self.waiting.insert(stream);
        Ok(stream)
    }

    /// Drops a call whose answer nobody waits for any more. The server still works on it.
    pub fn forget(&mut self, stream: u32) {
        self.waiting.remove(&stream);
    }

    /// Adds received bytes.
    pub fn received(&mut self, bytes: &[u8]) {
        self.decoder.received(bytes);
    }

    /// The buffer that received bytes go to, for callers that read straight into it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.decoder.buffer()
    }

    /// Takes the next answer out, if one is there in full: its stream, and the encoded message or
    /// the server's error. Answers that nobody waits for are dropped.
    #[expect(clippy::should_implement_trait, reason = "None means: not yet")]
    pub fn next(&mut self) -> Option<(u32, Result<Bytes, Status>)> {
        loop {
            let (stream, answer) = match self.decoder.next()? {
                Received::Oversized(Oversized { stream, kind, length }) => {
                    let error = Oversized { stream, kind, length }.to_string();
                    (stream, Err(status::new(Code::ResourceExhausted, error)))
                }
                Received::Frame(Frame { stream, kind: Kind::Response, data, .. }) => {
                    (stream, open(data))
                }
                Received::Frame(Frame { stream, .. }) => (
                    stream,
                    Err(status::new(Code::Unknown, "ttrpc: a unary call was answered by a stream")),
                ),
            };
            if self.waiting.remove(&stream) {
                return Some((stream, answer));
            }
        }
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

    /// Says whether any call still waits for its answer.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn open(data: Bytes) -> Result<Bytes, Status> {
    let response = Response::decode(data).map_err(|error| {
        status::new(Code::Internal, format!("ttrpc: error unmarshalling payload: {error}"))
    })?;
    match response.status {
        Some(status) if status.code != 0 => Err(status),
        _ => Ok(response.payload),
    }
}

fn nanoseconds(timeout: Duration) -> i64 {
    // 0 would mean no limit at all.
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX).max(1)
}
