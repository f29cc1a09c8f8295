//! What the program does beside serving: `stowd config` prints what unmodified containerd 2.1 prints for the
//! same files, events are published, hooks run, signals and
//! settings are heeded.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod printed;
mod programs;
mod proxies;
mod settings;
mod signals;
