//! A download's bytes on their way to whoever unpacks them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How many KiB may wait for the reader: an unpacker that is behind holds the download back.
const AHEAD: u32 = 4 << 10;

/// Where a download puts its bytes.
pub(crate) struct Feed {
    pieces: mpsc::UnboundedSender<Piece>,
    room: Arc<Semaphore>,
}

/// Where an unpacker gets them: on a thread that may block.
pub(crate) struct Source {
    pieces: mpsc::UnboundedReceiver<Piece>,
    current: Bytes,
    /// The room that the current piece takes.
    taken: Option<OwnedSemaphorePermit>,
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
    Data(Bytes, OwnedSemaphorePermit),
    /// The blob is whole. Without it an end is a download that broke off.
    End,
}

/// Returns both ends, and what tells of a break between them.
pub(crate) fn pipe() -> (Feed, Source, Broke) {
    let (sender, pieces) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(AHEAD as usize));
    let broke = Broke::default();
    let current = Bytes::new();
    let source = Source { pieces, current, taken: None, ended: false, broke: broke.clone() };
    (Feed { pieces: sender, room }, source, broke)
}

impl Feed {
    /// Hands a piece over, when there is room. A reader that has gone does not stop the download.
    pub(crate) async fn give(&self, data: Bytes) {
        let length = u32::try_from(data.len() >> 10).unwrap_or(AHEAD).clamp(1, AHEAD);
        let room = Arc::clone(&self.room).acquire_many_owned(length).await;
        if let (Ok(room), false) = (room, data.is_empty()) {
            let _ = self.pieces.send(Piece::Data(data, room));
        }
    }

    /// Says that all was handed over.
    pub(crate) fn end(self) {
        let _ = self.pieces.send(Piece::End);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            // Before waiting: the next piece may need all the room there is.
            self.taken = None;
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data, room)) => {
                    self.current = data;
                    self.taken = Some(room);
                }
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
            let large = "c".repeat(5 << 20);
            feed.give(large.clone().into()).await;
            feed.give(large.clone().into()).await;
            if whole {
                feed.end();
                assert_eq!(reader.await.unwrap().unwrap(), format!("ab{large}{large}"));
            } else {
                drop(feed);
                assert!(reader.await.unwrap().is_err());
            }
            assert_ne!(broke.off(), whole);
        }
    }
}
