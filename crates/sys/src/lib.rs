//! Safe functions over the system calls that neither the standard library nor `rustix` offers.
//!
//! The only crate of the workspace with `unsafe` code. Each module wraps one facility of the kernel;
//! each block says which invariant makes it sound. Signatures speak of borrowed and owned
//! descriptors, never of raw numbers, and errors are the kernel's numbers.

#![allow(unsafe_code, reason = "this is where it lives, so that it lives nowhere else")]

pub mod attributes;
pub mod bpf;
pub mod clone;
pub mod copy;
pub mod descent;
pub mod exec;
pub mod file;
pub mod fork;
pub mod fs_context;
pub mod inherited;
pub mod keyring;
pub mod loop_device;
pub mod malloc;
pub mod mount_attr;
pub mod namespace;
pub mod netif;
pub mod own_program;
pub mod sched;
#[cfg(feature = "seccomp")]
pub mod seccomp;
pub mod signal;
pub mod signalfd;
pub mod spawn;
pub mod tree;
pub mod xattr;
