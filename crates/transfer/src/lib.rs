//! Moving images. See ARCHITECTURE.md.

mod local;

pub use local::{Config, Local, Parts};
