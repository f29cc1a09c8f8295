//! Codec and connections, without and with tokio.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::*;
use crate::rpc::Status;
use crate::status::{self, Code};
use crate::task::v3::{ConnectRequest, ConnectResponse, PidsResponse};

fn request(stream: u32, flags: Flags) -> BytesMut {
    let mut bytes = BytesMut::new();
    let request = Request { service: "s".into(), method: "m".into(), ..Request::default() };
    encode(&mut bytes, stream, Kind::Request, flags, &request).unwrap();
    bytes
}

fn answer(server: &mut ServerConnection) -> (u32, Result<Bytes, Status>) {
    let mut decoder = Decoder::default();
    decoder.received(&server.take_output());
    let Some(Received::Frame(frame)) = decoder.next() else { panic!("no frame") };
    assert_eq!(frame.kind, Kind::Response);
    let response = Response::decode(frame.data).unwrap();
    (frame.stream, response.status.map_or(Ok(response.payload), Err))
}

#[test]
fn a_frame_is_laid_out_as_the_protocol_says() {
    let mut out = BytesMut::new();
    let frame = Frame {
        stream: 0x0102_0305,
        kind: Kind::Data,
        flags: Flags::REMOTE_CLOSED | Flags::NO_DATA,
        data: Bytes::from_static(b"ab"),
    };
    frame.encode(&mut out).unwrap();
    assert_eq!(&out[..], [0, 0, 0, 2, 1, 2, 3, 5, 3, 5, b'a', b'b']);
}

#[test]
fn frames_come_out_whole_however_bytes_go_in() {
    let mut bytes = request(1, Flags::default());
    bytes.extend_from_slice(&request(3, Flags::default()));
    for size in 1..bytes.len() {
        let mut decoder = Decoder::default();
        let mut streams = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.received(piece);
            while let Some(Received::Frame(frame)) = decoder.next() {
                streams.push(frame.stream);
            }
        }
        assert_eq!(streams, [1, 3]);
    }
}

#[test]
fn an_oversized_frame_is_refused_and_skipped() {
    let mut server = ServerConnection::new();
    let length = MAX_DATA + 1;
    let mut header = (length as u32).to_be_bytes().to_vec();
    header.extend_from_slice(&[0, 0, 0, 1, 1, 0]);
    server.received(&header);
    assert_eq!(server.next(), None);
    let (stream, refused) = answer(&mut server);
    assert_eq!((stream, refused.unwrap_err().code), (1, Code::ResourceExhausted as i32));
    for _ in 0..length / 1000 {
        server.received(&[0xff; 1000]);
        assert_eq!(server.next(), None);
    }
    server.received(&vec![0xff; length % 1000]);
    server.received(&request(3, Flags::default()));
    assert!(matches!(server.next(), Some(Incoming::Call(call)) if call.stream == 3));
    assert!(server.output().is_empty());
}

#[test]
fn stream_ids_must_be_odd_and_rise() {
    let mut server = ServerConnection::new();
    server.received(&request(2, Flags::default()));
    assert_eq!(server.next(), None);
    assert_eq!(answer(&mut server).1.unwrap_err().code, Code::InvalidArgument as i32);
    server.received(&request(3, Flags::default()));
    assert!(server.next().is_some());
    server.received(&request(3, Flags::default()));
    assert_eq!(server.next(), None);
    assert_eq!(answer(&mut server).1.unwrap_err().code, Code::InvalidArgument as i32);
}

#[test]
fn unknown_frames_are_ignored_and_garbage_is_refused() {
    let mut server = ServerConnection::new();
    let other = Frame { stream: 1, kind: Kind::Other(9), flags: Flags(0), data: Bytes::new() };
    let mut bytes = BytesMut::new();
    other.encode(&mut bytes).unwrap();
    let garbage = Bytes::from_static(&[0xff; 4]);
    Frame { stream: 5, kind: Kind::Request, flags: Flags(0), data: garbage }
        .encode(&mut bytes)
        .unwrap();
    server.received(&bytes);
    assert_eq!(server.next(), None);
    let (stream, refused) = answer(&mut server);
    assert_eq!((stream, refused.unwrap_err().code), (5, Code::InvalidArgument as i32));
}

#[test]
fn data_goes_to_open_streams_only() {
    let mut server = ServerConnection::new();
    server.received(&request(1, Flags::REMOTE_OPEN));
    assert!(matches!(server.next(), Some(Incoming::Call(_))));
    let mut bytes = BytesMut::new();
    let data = |flags| Frame { stream: 1, kind: Kind::Data, flags, data: Bytes::new() };
    data(Flags(0)).encode(&mut bytes).unwrap();
    data(Flags::REMOTE_CLOSED | Flags::NO_DATA).encode(&mut bytes).unwrap();
    data(Flags(0)).encode(&mut bytes).unwrap();
    server.received(&bytes);
    let empty = Some(Bytes::new());
    assert_eq!(server.next(), Some(Incoming::Data { stream: 1, data: empty, last: false }));
    assert_eq!(server.next(), Some(Incoming::Data { stream: 1, data: None, last: true }));
    assert_eq!(server.next(), None);
    assert_eq!(answer(&mut server).1.unwrap_err().code, Code::InvalidArgument as i32);
}

#[test]
fn replies_decode_as_responses() {
    let mut server = ServerConnection::new();
    let message = ConnectResponse { shim_pid: 7, ..ConnectResponse::default() };
    server.reply(1, &message);
    let (_, payload) = answer(&mut server);
    assert_eq!(ConnectResponse::decode(payload.unwrap()).unwrap(), message);
    server.reply(3, &PidsResponse::default());
    assert_eq!(answer(&mut server), (3, Ok(Bytes::new())));
}

#[test]
fn a_reply_that_is_too_long_becomes_an_error() {
    let mut server = ServerConnection::new();
    let message = ConnectResponse { version: "x".repeat(MAX_DATA), ..ConnectResponse::default() };
    server.reply(1, &message);
    let (_, refused) = answer(&mut server);
    assert_eq!(refused.unwrap_err().code, Code::ResourceExhausted as i32);
    let mut client = ClientConnection::new();
    assert!(client.call("s", "m", &message).is_err());
    assert!(client.output().is_empty() && !client.is_waiting());
}

#[test]
fn the_client_drops_answers_nobody_waits_for() {
    let (mut client, mut server) = (ClientConnection::new(), ServerConnection::new());
    let first = client.call("s", "m", &ConnectRequest::default()).unwrap();
    let second = client.call("s", "m", &ConnectRequest::default()).unwrap();
    client.forget(first);
    server.reply(first, &ConnectResponse::default());
    server.refuse(second, status::new(Code::NotFound, "container: not found"));
    server.reply(99, &ConnectResponse::default());
    client.received(server.output());
    let (stream, refused) = client.next().unwrap();
    assert_eq!((stream, refused.unwrap_err().code), (second, 5));
    assert!(client.next().is_none());
}

#[cfg(feature = "ttrpc-tokio")]
mod over_tokio {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Barrier;

    use super::*;

    /// Method `meet` waits for a second caller, `never` for ever; `count` numbers its calls.
    struct Peer {
        barrier: Barrier,
        count: AtomicUsize,
    }

    #[async_trait::async_trait]
    impl Service for Peer {
        async fn call(&self, call: Call) -> Result<Bytes, Status> {
            match &*call.method {
                "meet" => {
                    self.barrier.wait().await;
                    Ok(call.payload)
                }
                "never" => std::future::pending().await,
                "count" => {
                    tokio::task::yield_now().await;
                    Ok(vec![self.count.fetch_add(1, Ordering::Relaxed) as u8].into())
                }
                "namespace" => {
                    let scope = crate::scope::from_ttrpc(&call.metadata);
                    let scope = scope.map_err(|error| status::to_ttrpc(&error))?;
                    Ok(scope.namespace.to_string().into())
                }
                _ => Err(status::unimplemented(&call.service, &call.method)),
            }
        }
    }

    fn connect(dispatch: Dispatch) -> Client {
        let (ours, theirs) = tokio::io::duplex(64);
        let peer = Peer { barrier: Barrier::new(2), count: AtomicUsize::new(0) };
        tokio::spawn(serve(theirs, Arc::new(peer), dispatch));
        Client::new(ours)
    }

    #[tokio::test]
    async fn calls_share_a_connection() {
        let client = connect(Dispatch::Concurrent);
        let large = Bytes::from(vec![7; 100_000]);
        let (one, two) = tokio::join!(
            client.call_encoded("s", "meet", large.clone(), None),
            client.call_encoded("s", "meet", Bytes::from_static(b"b"), None),
        );
        assert_eq!((one.unwrap(), two.unwrap()), (large, Bytes::from_static(b"b")));
    }

    #[tokio::test]
    async fn in_order_means_in_order() {
        let client = connect(Dispatch::InOrder);
        let calls = (0..50).map(|_| {
            let client = client.clone();
            // Queued here and now; only the waiting is left to the task.
            let mut call = Box::pin(async move {
                client.call_encoded("s", "count", Bytes::new(), None).await.unwrap()[0]
            });
            let waker = std::task::Waker::noop();
            let _ = call.as_mut().poll(&mut std::task::Context::from_waker(waker));
            call
        });
        for (index, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(usize::from(call.await), index);
        }
    }

    #[tokio::test]
    async fn a_deadline_ends_a_call_and_spares_the_connection() {
        let client = connect(Dispatch::Concurrent);
        let late = client.call_encoded("s", "never", Bytes::new(), Some(Duration::from_millis(20)));
        assert_eq!(late.await.unwrap_err().code, Code::DeadlineExceeded as i32);
        let missing = client.call_encoded("s", "nothing", Bytes::new(), None).await.unwrap_err();
        assert_eq!(missing.code, Code::Unimplemented as i32);
    }

    #[tokio::test]
    async fn metadata_arrives() {
        let client = connect(Dispatch::Concurrent);
        assert_eq!(
            client.call_encoded("s", "namespace", Bytes::new(), None).await.unwrap_err().code,
            9
        );
        let client = client.with_metadata(crate::scope::NAMESPACE_TTRPC, "k8s.io");
        assert_eq!(
            client.call_encoded("s", "namespace", Bytes::new(), None).await.unwrap(),
            "k8s.io"
        );
    }

    #[tokio::test]
    async fn a_peer_that_goes_away_fails_all_calls() {
        let (ours, theirs) = tokio::io::duplex(64);
        let client = Client::new(ours);
        let call = client.call_encoded("s", "m", Bytes::new(), None);
        let (answer, ()) = tokio::join!(call, async { drop(theirs) });
        assert_eq!(answer.unwrap_err().code, Code::Unavailable as i32);
        client.closed().await;
        assert!(client.is_closed());
        let again = client.call_encoded("s", "m", Bytes::new(), None).await;
        assert_eq!(again.unwrap_err().code, Code::Unavailable as i32);
    }
}
