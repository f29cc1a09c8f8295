//! ttrpc: the small RPC that daemon and shims speak over unix sockets.
//!
//! A connection carries frames: ten bytes of header (length, stream id, both 32 bits big-endian,
//! then type and flags, a byte each) and at most 4 MiB of data. A unary call is one request frame
//! and one response frame with the same stream id; client ids are odd and rise. A call that streams
//! says so in its request's flags and goes on with data frames, the last of them flagged.
//!
//! Nothing here does I/O. Three layers, each usable alone:
//!
//! * [`Decoder`] and [`encode`]: bytes ↔ [`Frame`]s;
//! * [`ServerConnection`] and [`ClientConnection`]: frames ↔ calls, with the protocol's rules; for
//!   an epoll loop such as the shim's;
//! * with feature `ttrpc-tokio`, [`Client`] and [`serve`] over any tokio stream.
//!
//! # In an epoll loop
//! ```
//! use stowd_api::task::v3::{ConnectRequest, ConnectResponse, task_names};
//! use stowd_api::ttrpc::{ClientConnection, Incoming, ServerConnection};
//! use stowd_api::{Message, status::Code, status};
//!
//! let (mut shim, mut daemon) = (ServerConnection::new(), ClientConnection::new());
//! let id = daemon.call(task_names::SERVICE, task_names::CONNECT, &ConnectRequest::default())?;
//! // readable: whatever read(2) returned goes in, whole calls come out
//! shim.received(daemon.output());
//! while let Some(incoming) = shim.next() {
//!     let Incoming::Call(call) = incoming else { continue };
//!     match (&*call.service, &*call.method) {
//!         (task_names::SERVICE, task_names::CONNECT) => {
//!             shim.reply(call.stream, &ConnectResponse { shim_pid: 1, ..Default::default() })
//!         }
//!         _ => shim.refuse(call.stream, status::new(Code::Unimplemented, "no such method")),
//!     }
//! }
//! // writable: output() holds what is to be written, wrote(n) says how much of it was
//! daemon.received(shim.output());
//! shim.wrote(shim.output().len());
//! let (stream, answer) = daemon.next().unwrap();
//! assert_eq!((stream, ConnectResponse::decode(answer.unwrap())?.shim_pid), (id, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod frame;
mod server;
#[cfg(test)]
mod tests;
#[cfg(feature = "ttrpc-tokio")]
mod tokio_client;
#[cfg(feature = "ttrpc-tokio")]
mod tokio_server;

pub use client::ClientConnection;
pub use frame::{Decoder, Flags, Frame, HEADER, Kind, MAX_DATA, Oversized, Received, encode};
pub use server::{Call, Incoming, ServerConnection};
#[cfg(feature = "ttrpc-tokio")]
pub use tokio_client::Client;
#[cfg(feature = "ttrpc-tokio")]
pub use tokio_server::{Dispatch, Service, serve};

pub use crate::generated::ttrpc::{KeyValue, Request, Response, StringList};

/// Returns the first value of a key in a request's metadata. Case does not count in keys.
pub fn metadata<'a>(pairs: &'a [KeyValue], key: &str) -> Option<&'a str> {
    pairs.iter().find(|pair| pair.key.eq_ignore_ascii_case(key)).map(|pair| &*pair.value)
}
