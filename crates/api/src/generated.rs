//! What build.rs makes from `proto/`: one module for each package.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated code; the proto files are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/packages.rs"));
