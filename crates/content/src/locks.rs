//! One writer per ingest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stowd_core::{Error, Result};

/// The keys that writers hold.
#[derive(Debug, Default)]
pub(crate) struct Locks(Arc<Mutex<HashMap<String, Since>>>);

/// A key held; dropping it frees the key.
#[derive(Debug)]
pub(crate) struct Held {
    key: String,
    locks: Arc<Mutex<HashMap<String, Since>>>,
}

#[derive(Debug)]
struct Since {
    clock: Instant,
    time: Timestamp,
}

impl Locks {
    /// Takes a key, or fails with `Unavailable`. The words are containerd's: clients look for
    /// `locked` and wait.
    pub(crate) fn take(&self, key: &str) -> Result<Held> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = held.get(key) {
            return Err(Error::unavailable(format_args!(
                "ref {key} locked for {} (since {})",
                duration(since.clock.elapsed()),
                since.time
            )));
        }
        held.insert(key.to_owned(), Since { clock: Instant::now(), time: Timestamp::now() });
        Ok(Held { key: key.to_owned(), locks: self.0.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Writes a duration as Go does: `1m2.5s`, `3.25ms`.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{duration:?}");
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = f64::from(u32::try_from(seconds % 60).unwrap_or_default())
        + f64::from(duration.subsec_millis()) / 1000.0;
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_once_and_freed_by_drop() {
        let locks = Locks::default();
        let held = locks.take("default/1/a").unwrap();
        let error = locks.take("default/1/a").unwrap_err();
        assert_eq!(error.kind(), stowd_core::ErrorKind::Unavailable);
        assert!(error.message().starts_with("ref default/1/a locked for "), "{error}");
        assert!(locks.take("default/2/a").is_ok());
        drop(held);
        assert!(locks.take("default/1/a").is_ok());
    }

    #[test]
    fn durations_read_as_in_go() {
        assert_eq!(duration(Duration::from_micros(3250)), "3.25ms");
        assert_eq!(duration(Duration::from_millis(2500)), "2.5s");
        assert_eq!(duration(Duration::from_millis(62_000)), "1m2s");
        assert_eq!(duration(Duration::from_millis(3_723_004)), "1h2m3.004s");
    }
}
