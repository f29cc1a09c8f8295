//! Buffers that travel between threads, and the channels they travel on.
//!
//! A buffer goes back to its pool when the last thread that reads it is done, so a stream of any
//! length needs as many buffers as fit into the channels.

use std::io::{self, BufRead, Read, Write};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use stowd_core::{Error, Result};

use crate::tar::{Input, Output};

/// The size of a buffer. Smaller than the nearer caches, so that what one thread wrote is still there
/// when the next one reads it; larger made nothing faster.
pub(crate) const SIZE: usize = 256 << 10;

/// How many buffers may wait between two threads.
const DEPTH: usize = 8;

/// Whether a stage came to the end of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did.
    Done,
    /// The stage after it wants no more, and knows why.
    Unwanted,
}

/// Where buffers come from and go back to.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A filled buffer.
pub(crate) struct Chunk {
    data: Box<[u8]>,
    len: usize,
    pool: Pool,
}

/// The sending end of a channel.
pub(crate) type Sender = SyncSender<Arc<Chunk>>;

/// The receiving end of a channel, read piece by piece.
pub(crate) struct Stream {
    receiver: Receiver<Arc<Chunk>>,
    chunk: Option<Arc<Chunk>>,
    at: usize,
}

/// Collects bytes into chunks and hands the full ones on.
pub(crate) struct Filler<F> {
    pool: Pool,
    chunk: Option<Chunk>,
    hand_on: F,
}

/// Makes a channel.
pub(crate) fn channel() -> (Sender, Stream) {
    let (sender, receiver) = sync_channel(DEPTH);
    (sender, Stream { receiver, chunk: None, at: 0 })
}

impl Pool {
    /// Returns a chunk that `fill` put bytes into; nothing when it put none.
    pub(crate) fn chunk<E>(
        &self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<Arc<Chunk>>, E> {
        let mut chunk = self.empty();
        chunk.len = fill(&mut chunk.data)?;
        Ok((chunk.len > 0).then(|| Arc::new(chunk)))
    }

    fn empty(&self) -> Chunk {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let data = free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        Chunk { data, len: 0, pool: self.clone() }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}

impl Stream {
    /// Returns the next whole chunk; nothing at the end.
    pub(crate) fn next(&mut self) -> Option<Arc<Chunk>> {
        self.receiver.recv().ok()
    }

    /// Returns the first chunk and keeps it in the stream.
    pub(crate) fn peek(&mut self) -> Option<&Chunk> {
        if self.chunk.is_none() {
            self.chunk = self.next();
        }
        self.chunk.as_deref()
    }

    /// Returns the peeked chunk, if any, and then all others.
    pub(crate) fn take(&mut self) -> Option<Arc<Chunk>> {
        self.chunk.take().or_else(|| self.next())
    }

    fn data(&mut self) -> &[u8] {
        if self.chunk.as_ref().is_none_or(|chunk| self.at >= chunk.len) {
            // Given back before waiting for the next one.
            self.chunk = None;
            self.at = 0;
            self.chunk = self.next();
        }
        self.chunk.as_ref().map_or(&[], |chunk| &chunk[self.at..])
    }
}

impl Input for Stream {
    fn fill(&mut self) -> Result<&[u8]> {
        Ok(self.data())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let data = self.data();
        let count = data.len().min(buffer.len());
        buffer[..count].copy_from_slice(&data[..count]);
        self.at += count;
        Ok(count)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.data())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl<F: FnMut(Arc<Chunk>) -> Outcome> Filler<F> {
    /// Makes one that gives its chunks to `hand_on`.
    pub(crate) fn new(hand_on: F) -> Self {
        Self { pool: Pool::default(), chunk: None, hand_on }
    }

    /// Hands on what is left.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        let Some(chunk) = self.chunk.take().filter(|chunk| chunk.len > 0) else { return Ok(()) };
        match (self.hand_on)(Arc::new(chunk)) {
            Outcome::Done => Ok(()),
            Outcome::Unwanted => Err(Error::canceled("nobody takes the layer any more")),
        }
    }
}

impl<F: FnMut(Arc<Chunk>) -> Outcome> Output for Filler<F> {
    fn room(&mut self) -> &mut [u8] {
        let chunk = self.chunk.get_or_insert_with(|| self.pool.empty());
        &mut chunk.data[chunk.len..]
    }

    fn filled(&mut self, count: usize) -> Result<()> {
        let Some(chunk) = &mut self.chunk else { return Ok(()) };
        chunk.len = (chunk.len + count).min(SIZE);
        if chunk.len == SIZE { self.send() } else { Ok(()) }
    }
}

impl<F: FnMut(Arc<Chunk>) -> Outcome> Write for Filler<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.room();
        let count = room.len().min(data.len());
        room[..count].copy_from_slice(&data[..count]);
        self.filled(count).map_err(io::Error::other)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells the threads, when it is dropped, that nobody waits for them any more.
#[derive(Default)]
pub(crate) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// Returns what the threads look at.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Tells them now.
    pub(crate) fn give_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let pool = Pool::default();
        let (sender, mut stream) = channel();
        let writer = pool.clone();
        let thread = std::thread::spawn(move || {
            for number in 0..1000_u32 {
                let chunk = writer.chunk(|buffer| {
                    buffer[..4].copy_from_slice(&number.to_le_bytes());
                    Ok::<_, ()>(4)
                });
                sender.send(chunk.unwrap().unwrap()).unwrap();
            }
        });
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        thread.join().unwrap();
        let numbers: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(all, numbers);
        assert!(pool.0.lock().unwrap().len() <= DEPTH + 2);
    }
}
