//! The same container, made by this runtime and by runc: what its program sees must be the same.
//!
//! Each test is one specification. It is run by stowd and by two versions of unmodified runc, one
//! after the other, from the same bundle under the same id, and the same script in it prints all that
//! a program can see of itself and its surroundings; the harness adds what the host sees of it. The
//! views are compared section by section. Where they may differ, the specification or the normaliser
//! says why.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what tests call; a panic there is the report"
)]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod cgroups;
mod devices;
mod execs;
mod failures;
mod files;
mod hooks;
mod identity;
mod known;
mod mountinfo;
mod mounts;
mod namespaces;
mod paths;
mod peers;
mod probe;
mod seccomp;
mod terminal;
mod view;
