//! Makes renames into a directory durable, many at a time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// A directory whose entries several threads want on disk: whoever comes while a flush runs shares
/// the next one.
#[derive(Debug)]
pub(crate) struct Directory {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    done: u64,
    running: bool,
}

impl Directory {
    /// Opens a directory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Returns after a flush that began after this call.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.begun + 1;
        while state.done < wanted {
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.begun += 1;
            let mine = state.begun;
            drop(state);
            let result = self.file.sync_all();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            if result.is_ok() {
                state.done = mine;
            }
            self.changed.notify_all();
            // The others that waited for this flush each try again and see the error themselves.
            result?;
        }
        Ok(())
    }
}
