//! The time of day, as messages carry it.

use std::time::{SystemTime, UNIX_EPOCH};

use stowd_api::Timestamp;

/// Now.
pub(crate) fn now() -> Timestamp {
    // A clock before 1970 is wrong anyhow.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().try_into().unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().try_into().unwrap_or_default(),
    }
}
