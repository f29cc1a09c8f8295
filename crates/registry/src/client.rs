//! The client as the daemon holds it.

use std::sync::Arc;
use std::time::Duration;

use stowd_core::Result;
use stowd_core::registry::{Registries, Repository};
use stowd_core::transfer::RegistryRef;

use crate::repository::{Handle, Remote};

/// What can be set for all registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long connecting may take where `hosts.toml` does not say. Default: 30 seconds.
    pub connect: Duration,
    /// How long a registry may be silent, before its answer or between two pieces of it, until the
    /// connection counts as broken. Default: 30 seconds.
    pub silence: Duration,
    /// How often a request is tried before its failure is reported. Default: 5.
    pub tries: u32,
    /// How long to wait before the second try; doubles with each further one. Default: 200 ms.
    pub pause: Duration,
    /// How the daemon introduces itself. Default: `stowd/<version>`.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_millis(200),
            user_agent: concat!("stowd/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Opens repositories on registries.
#[derive(Debug)]
pub struct Client {
    config: Config,
}

impl Client {
    /// Makes a client; nothing is connected or loaded before the first request.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Registries for Client {
    fn repository(&self, image: &RegistryRef) -> Result<Arc<dyn Repository>> {
        let remote = Remote::open(image, self.config.clone())?;
        Ok(Arc::new(Handle(Arc::new(remote))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        let config = Config::default();
        assert_eq!(config.connect, Duration::from_secs(30));
        assert_eq!(config.silence, Duration::from_secs(30));
        assert_eq!(config.tries, 5);
        assert_eq!(config.pause, Duration::from_millis(200));
        assert!(config.user_agent.starts_with("stowd/"));
    }
}
