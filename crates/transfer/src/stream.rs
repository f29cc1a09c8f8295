//! A download's bytes on their way to whoever unpacks them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// How many pieces may wait for the reader. They have some 16 to 400 KiB, so that an unpacker that is
/// behind holds the download back after a few megabytes.
const AHEAD: usize = 32;

/// Where a download puts its bytes.
pub(crate) struct Feed(mpsc::Sender<Piece>);

/// Where an unpacker gets them: on a thread that may block.
pub(crate) struct Source {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
    broke: Broke,
}

/// Tells whether a reader failed because its download broke off.
#[derive(Clone, Default)]
pub(crate) struct Broke(Arc<AtomicBool>);

impl Broke {
    pub(crate) fn off(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

enum Piece {
    Data(Bytes),
    /// The blob is whole. Without it an end is a download that broke off.
    End,
}

/// Returns both ends, and what tells of a break between them.
pub(crate) fn pipe() -> (Feed, Source, Broke) {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let broke = Broke::default();
    let source = Source { pieces, current: Bytes::new(), ended: false, broke: broke.clone() };
    (Feed(sender), source, broke)
}

impl Feed {
    /// Hands a piece over. A reader that has gone does not stop the download.
    pub(crate) async fn give(&self, data: Bytes) {
        if !data.is_empty() {
            let _ = self.0.send(Piece::Data(data)).await;
        }
    }

    /// Says that all was handed over.
    pub(crate) async fn end(self) {
        let _ = self.0.send(Piece::End).await;
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.current = data,
                Some(Piece::End) => self.ended = true,
                None => {
                    self.broke.0.store(true, Ordering::Release);
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "download broke off",
                    ));
                }
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_told_from_a_break() {
        for whole in [true, false] {
            let (feed, mut source, broke) = pipe();
            let reader = tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                source.read_to_string(&mut text).map(|_| text)
            });
            feed.give("ab".into()).await;
            feed.give("c".into()).await;
            if whole {
                feed.end().await;
                assert_eq!(reader.await.unwrap().unwrap(), "abc");
            } else {
                drop(feed);
                assert!(reader.await.unwrap().is_err());
            }
            assert_ne!(broke.off(), whole);
        }
    }
}
