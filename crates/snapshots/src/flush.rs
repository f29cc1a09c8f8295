//! One flush for all who wait for one.
//!
//! A layer must be on disk when its commit returns. Flushing file by file costs a disk's round trip
//! for each; flushing the file system costs one, and covers what others have written as well. So
//! commits that come while a flush runs wait for the next one and share it, however many they are.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Flush {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Flushes started so far.
    started: u64,
    /// The latest that ended well.
    done: u64,
    running: bool,
}

impl Flush {
    /// Returns when a flush has ended that started after this call.
    pub(crate) fn wait(&self, flush: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = state.started + 1;
        while state.done < needed {
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let own = state.started;
            drop(state);
            let result = flush();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            if result.is_ok() {
                state.done = own;
            }
            self.changed.notify_all();
            result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_who_wait_share_the_next_one() {
        let (flush, count) = (Flush::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    flush
                        .wait(|| {
                            count.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(50));
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        // One for the first, one for all that came meanwhile; more if threads started late.
        let count = count.load(Ordering::SeqCst);
        assert!((1..16).contains(&count), "{count}");
    }

    #[test]
    fn a_failure_is_for_whoever_met_it() {
        let flush = Flush::default();
        assert!(flush.wait(|| Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(flush.wait(|| Ok(())).is_ok());
    }
}
