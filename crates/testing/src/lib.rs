//! What tests stand on: gates, scratch places, peers, images, and the conformance suites.
//!
//! Everything here starts the real thing: unmodified containerd and `ctr`, a real registry server,
//! stowd itself, each with its own root, state, socket and namespace below one [`Scratch`] folder.
//! A scratch folder knows what was started and mounted below it, cleans it up also when the test
//! fails, and reports what a passing test left behind.
//!
//! The [`conformance`] suites are lists of named checks against the contracts in `stowd_core`.
//! They take any implementation, so they run over a socket against containerd as well; a check
//! that containerd does not pass is wrong.
//!
//! There are deliberately no mocks of the kernel here, and nothing that product code may use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be set up fails its test by panicking, which is the report"
)]

pub mod chance;
pub mod clients;
pub mod conformance;
pub mod daemon;
pub mod gates;
pub mod gateway;
pub mod http;
pub mod image;
pub mod leaks;
pub mod mounts;
pub mod process;
pub mod registry;
pub mod scratch;
pub mod transcript;

pub use clients::Version;
pub use daemon::Daemon;
pub use gates::Need;
pub use registry::Registry;
pub use scratch::Scratch;
