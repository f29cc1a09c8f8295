//! Transfers between a real registry, archives, and the real stores and snapshotters.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod bench;
mod export;
mod faults;
mod import;
mod pull;
mod push;
