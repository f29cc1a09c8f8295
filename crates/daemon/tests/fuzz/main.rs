//! Input that nobody planned: random requests of every method at the gRPC socket, and configuration
//! files that something has gone through.
//!
//! Each test tries for `STOWD_FUZZ_SECONDS`, a few by default, from the seed `STOWD_SEED`, or one of
//! the time. A failure says its seed and what was sent.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod documents;
mod messages;
mod requests;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long to try.
fn end() -> Instant {
    let seconds = number("STOWD_FUZZ_SECONDS").unwrap_or(8);
    Instant::now() + Duration::from_secs(seconds)
}

/// Where to start from.
fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    number("STOWD_SEED").unwrap_or_else(now)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}
