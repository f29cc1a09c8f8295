//! The OCI distribution client (distribution-spec 1.1): resolve, fetch, push.
//!
//! [`Client`] opens repositories. A repository holds the hosts that serve it (from `hosts.toml`,
//! or the registry itself), the connections to them and the tokens they gave; all of that goes
//! when the repository is dropped at the end of a pull or push, so that an idle daemon holds no
//! connection, no certificate and no secret.
//!
//! # Decisions
//!
//! - **HTTP/1.1 only.** Layers are downloaded side by side over connections of their own; HTTP/2
//!   would put them onto one, with one window, and doubles the code that reads a stranger's bytes.
//! - **Redirects are followed here**, not in the HTTP library: to another host neither credentials
//!   nor configured headers travel.
//! - **Mirrors are tried in the order of `hosts.toml`**; only the last host is asked again after a
//!   failure, as in containerd: the point of a mirror is that there is another place to ask.
//! - **A body that breaks off is resumed** with a range request, for as long as each try brings
//!   something new.
//! - **Places named in a descriptor's `urls` come last**, after the registry said that it has no such
//!   blob (containerd asks them first): an image should not make a daemon call third parties
//!   unless that is the only way.

mod auth;
mod client;
mod duration;
mod endpoint;
mod fault;
mod fetch;
mod hosts;
mod push;
mod repository;
mod resolve;
mod tls;
mod transport;

pub use client::{Client, Config};
