//! The database over the real blob store and the real drivers: the contracts' rules, garbage
//! collection, what a start finds after a crash, and a process that is killed at random moments.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod bench;
mod collection;
mod concurrency;
mod conformance;
mod crash;
mod full_disk;
mod recovery;
mod sharing;
