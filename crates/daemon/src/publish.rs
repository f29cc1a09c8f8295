//! `publish`: hands an event to a running daemon. Shims of other makes start it for every event.

use std::io::Read as _;
use std::path::PathBuf;

use stowd::Config;
use stowd_api::Message as _;
use stowd_core::events::{Event, Exchange as _};
use stowd_core::{Error, Namespace, Result};

/// The most bytes that an event may have: what a gRPC message takes.
const LARGEST: u64 = stowd_api::MAX_MESSAGE_SIZE as u64;

/// An event to publish.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// Namespace to publish to
    #[arg(long, default_value = "")]
    namespace: String,
    /// Topic of the event
    #[arg(long, default_value = "")]
    topic: String,
}

impl Publish {
    /// Publishes what standard input holds: a protobuf `Any`.
    ///
    /// # Errors
    /// `InvalidArgument` without a topic or namespace, or for something else on standard input;
    /// `Unavailable` when no daemon answers.
    pub(crate) fn run(self, address: Option<PathBuf>) -> Result<()> {
        if self.topic.is_empty() {
            return Err(Error::invalid("topic required to publish event"));
        }
        let namespace = Namespace::new(self.namespace)?;
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read standard input", &error))?;
        let any = stowd_api::Any::decode(&bytes[..])
            .map_err(|error| Error::invalid(format_args!("standard input is no Any: {error}")))?;
        let address = address.unwrap_or_else(|| Config::DEFAULT_ADDRESS.into());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the runtime", &error))?;
        runtime.block_on(async {
            let daemon = stowd_proxy::connect(address).await?;
            daemon.events().publish(&namespace, &self.topic, Event::Other(any.into())).await
        })
    }
}
