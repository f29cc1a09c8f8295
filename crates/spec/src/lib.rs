//! Builds OCI runtime specs: what a container shall be, from an image's config and options.
//!
//! [`Spec::linux_default`] gives a container's defaults; methods then change one thing each and are
//! called in the order in which containerd's clients apply theirs, as later ones see what earlier
//! ones did. The result serialises to the JSON that Go's clients write, key for key.
//!
//! ```
//! use stowd_spec::{ImageConfig, NoFiles, Spec};
//! # fn main() -> Result<(), stowd_spec::Error> {
//! let config = ImageConfig::parse(br#"{"config":{"Cmd":["sh"]}}"#)?;
//! let mut spec = Spec::linux_default("default", "web");
//! spec.add_default_devices();
//! spec.apply_image_config(&config, &[], &NoFiles)?;
//! spec.use_terminal();
//! assert!(spec.to_json().contains(r#""cgroupsPath":"/default/web""#));
//! # Ok(()) }
//! ```
//!
//! # The container's files
//!
//! User and group names are looked up in the container's own `/etc/passwd` and `/etc/group`, through
//! [`RootFiles`]. [`RootView`] reads them from a directory, or straight from the layers of an overlay
//! or bind mount that nobody has performed yet, so that making a container needs no temporary mount.
//! Whatever these files are (symbolic links, devices, gigabytes), nothing outside the root is read.
//!
//! # What is deliberately absent
//!
//! Reading CDI files, loading AppArmor profiles and running anything: a spec is only data. The OCI
//! runtime has its own types for reading a spec, as it must not depend on this crate.

mod capabilities;
mod defaults;
mod error;
mod image;
mod options;
pub mod seccomp;
mod types;
mod user;

pub use capabilities::{current as current_capabilities, known as known_capabilities};
pub use defaults::{DEFAULT_CAPABILITIES, OCI_VERSION};
pub use error::{Error, Result};
pub use image::ImageConfig;
pub use types::*;
pub use user::{NoFiles, RootFiles, RootView};
