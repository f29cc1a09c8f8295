//! Hashing beside writing.
//!
//! A [`Lane`] takes buffers in order and hashes them on a blocking thread that exists only while
//! the lane has work, so that an open but idle writer costs no thread. Whoever needs the digest
//! finishes what is left in the lane itself, so nobody ever waits for a thread to be scheduled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use stowd_core::Digest;
use stowd_core::digest::{Algorithm, Hasher};
use tokio::sync::Semaphore;

/// The most bytes that wait for their turn; a writer that is ahead by more is held back.
const AHEAD: usize = 4 << 20;
/// Up to here the hop to another thread costs more than the hash.
const INLINE: usize = 32 << 10;

/// Hashes buffers in the order in which they come.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
    algorithm: Algorithm,
}

#[derive(Debug)]
struct Shared {
    // Held while hashing. Buffers are taken from `waiting` only under it, which keeps their order.
    hasher: Mutex<Hasher>,
    waiting: Mutex<Waiting>,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Waiting {
    buffers: VecDeque<Bytes>,
    worker: bool,
}

impl Lane {
    /// Starts with a hash of what came before.
    pub(crate) fn new(algorithm: Algorithm, hasher: Hasher) -> Self {
        let shared = Shared {
            hasher: Mutex::new(hasher),
            waiting: Mutex::default(),
            room: Semaphore::new(AHEAD),
        };
        Self { shared: Arc::new(shared), algorithm }
    }

    /// Returns the algorithm.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Adds a buffer; waits while too much is ahead of it.
    pub(crate) async fn push(&self, data: Bytes) {
        if data.len() <= INLINE && lock(&self.shared.waiting).buffers.is_empty() {
            // A worker that took the last buffer still holds the hasher until it is done with it.
            if let Ok(mut hasher) = self.shared.hasher.try_lock() {
                hasher.update(&data);
                return;
            }
        }
        if let Ok(permit) = self.shared.room.acquire_many(weight(&data)).await {
            permit.forget();
        }
        let mut waiting = lock(&self.shared.waiting);
        waiting.buffers.push_back(data);
        if !waiting.worker {
            waiting.worker = true;
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.work());
        }
    }

    /// Returns the digest of all that was added.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = lock(&self.shared.hasher);
        while self.shared.step(&mut hasher) {}
        hasher.digest()
    }
}

impl Shared {
    fn work(&self) {
        let mut hasher = lock(&self.hasher);
        loop {
            while self.step(&mut hasher) {}
            let mut waiting = lock(&self.waiting);
            if waiting.buffers.is_empty() {
                waiting.worker = false;
                return;
            }
        }
    }

    fn step(&self, hasher: &mut Hasher) -> bool {
        let Some(data) = lock(&self.waiting).buffers.pop_front() else { return false };
        hasher.update(&data);
        self.room.add_permits(weight(&data) as usize);
        true
    }
}

fn weight(data: &Bytes) -> u32 {
    // A buffer beyond the limit goes through alone.
    u32::try_from(data.len().min(AHEAD)).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_the_order_of_small_and_large_buffers() {
        let lane = Lane::new(Algorithm::Sha256, Algorithm::Sha256.hasher());
        let mut plain = Vec::new();
        for round in 0..200_usize {
            let len = if round % 3 == 0 { 100_000 } else { 10 + round };
            let data = vec![u8::try_from(round % 251).unwrap(); len];
            plain.extend_from_slice(&data);
            lane.push(data.into()).await;
            if round % 50 == 0 {
                assert_eq!(lane.digest(), Digest::of(&plain));
            }
        }
        lane.push(Bytes::from(vec![7; AHEAD + 1])).await;
        plain.extend(std::iter::repeat_n(7, AHEAD + 1));
        assert_eq!(lane.digest(), Digest::of(&plain));
    }
}
