//! The differ over the real stores and the real kernel: the contract's rules, layers that mean harm,
//! and trees that lead to layers and back.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod bench;
mod comparing;
mod conformance;
mod hostile;
mod overlays;
mod processors;
mod random;
mod round_trip;
mod tree;
