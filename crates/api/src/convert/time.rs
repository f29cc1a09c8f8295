//! Points in time.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use stowd_core::{Error, Result};

/// The first of January of the year 1, in seconds of the epoch: protobuf's first moment, and what Go
/// sends for a time that was never set.
const FIRST: i64 = -62_135_596_800;
/// The last second of the year 9999, protobuf's last.
const LAST: i64 = 253_402_300_799;

/// Returns a time as messages carry it.
pub fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// Returns a time, or the epoch where a message has none.
///
/// # Errors
/// `InvalidArgument` when the message's time cannot be represented.
pub fn time(timestamp: Option<Timestamp>) -> Result<SystemTime> {
    optional_time(timestamp).map(|time| time.unwrap_or(UNIX_EPOCH))
}

/// Returns a time, where a message has one. Go's zero time counts as none.
///
/// # Errors
/// `InvalidArgument` when it cannot be represented.
pub fn optional_time(timestamp: Option<Timestamp>) -> Result<Option<SystemTime>> {
    let Some(timestamp) = timestamp else { return Ok(None) };
    let Timestamp { seconds, nanos } = timestamp;
    if (seconds, nanos) == (FIRST, 0) {
        return Ok(None);
    }
    let time = SystemTime::try_from(timestamp).ok().filter(|_| (FIRST..=LAST).contains(&seconds));
    time.map(Some).ok_or_else(|| {
        Error::invalid(format_args!("timestamp {seconds}s {nanos}ns is out of range"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_times_are_errors_and_unset_ones_the_epoch() {
        assert!(time(Some(Timestamp { seconds: i64::MAX, nanos: i32::MAX })).is_err());
        assert_eq!(time(None).unwrap(), UNIX_EPOCH);
        assert_eq!(
            time(Some(Timestamp { seconds: -62_135_596_800, nanos: 0 })).unwrap(),
            UNIX_EPOCH
        );
        let now = SystemTime::now();
        assert_eq!(time(Some(timestamp(now))).unwrap(), now);
    }
}
