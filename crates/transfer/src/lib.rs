//! Moving images: pull, push, import, export and tag, each as one order of steps.
//!
//! [`Local`] is this daemon's [`stowd_core::transfer::Transfer`]. Whoever the caller is, the steps
//! of a transfer into the image store are the same: take a lease, bring documents in, choose
//! platforms, bring layers in and unpack them side by side, and only when all is there write the
//! image's record. What fails half way leaves resumable ingests and nothing that can be seen.
//!
//! Single flight: each blob is downloaded, and each tree unpacked, by one transfer at a time,
//! however many want it; the others wait and then find it done.
//!
//! Deliberately absent: what a registry or an archive looks like (`core::registry`,
//! `stowd_images`), and how a layer becomes files (`core::diff`).

mod arrival;
mod export;
mod fetch;
mod flight;
mod import;
mod job;
mod lease;
mod local;
mod pull;
mod push;
mod record;
mod remains;
mod stream;
mod tag;
mod tracker;
mod unpack;

pub use local::{Config, Local, Parts};
