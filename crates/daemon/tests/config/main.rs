//! What `stowd config` prints, beside what unmodified containerd 2.1 prints for the same files.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod printed;
