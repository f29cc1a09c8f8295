//! The connection to a daemon.

use std::path::{Path, PathBuf};

use stowd_api::health::v1::health_check_response::ServingStatus;
use stowd_api::health::v1::{HealthCheckRequest, health_client::HealthClient};
use stowd_core::{Error, ErrorKind, Result};
use tonic::transport::{Channel, Endpoint};

use crate::call::{client, failed};
use crate::{
    containers, content, diff, events, images, introspection, leases, mounts, namespaces,
    sandboxes, snapshots, streaming, tasks, transfer,
};

/// How much a stream may be ahead of its reader: enough to keep a blob's transfer busy.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all streams of the connection together.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A daemon on the other end of a unix socket, or of a channel within this process.
#[derive(Clone, Debug)]
pub struct Connection {
    path: PathBuf,
    channel: Channel,
}

/// Whether a daemon does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It does.
    Yes,
    /// It answers, but not yet or no longer calls.
    No,
}

/// Connects to a daemon's gRPC socket.
///
/// # Errors
/// `Unavailable` when nobody listens there, `PermissionDenied` when the caller may not,
/// `InvalidArgument` when the path cannot be a socket's.
pub async fn connect(path: impl AsRef<Path>) -> Result<Connection> {
    let path = path.as_ref();
    // Tonic's error says "transport error"; the kernel's says what is wrong.
    if let Err(error) = tokio::net::UnixStream::connect(path).await {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::InvalidInput => ErrorKind::InvalidArgument,
            _ => ErrorKind::Unavailable,
        };
        let failed = Error::new(kind, format_args!("connect to {}: {error}", path.display()));
        return Err(match kind {
            ErrorKind::PermissionDenied => failed.hint("run as root, or as a user of the socket"),
            ErrorKind::Unavailable => failed.hint("is the daemon running, with this socket?"),
            _ => failed,
        });
    }
    connect_lazy(path)
}

/// Makes a connection that connects at the first call. Must be called within a tokio runtime.
///
/// # Errors
/// `InvalidArgument` when the path cannot be a socket's.
pub fn connect_lazy(path: impl AsRef<Path>) -> Result<Connection> {
    let path = path.as_ref();
    let invalid = || Error::invalid(format_args!("socket path {:?}", path.display()));
    let text = path.to_str().ok_or_else(invalid)?;
    let channel = Endpoint::from_shared(format!("unix://{text}"))
        .map_err(|_| invalid())?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_lazy();
    Ok(Connection { path: path.to_owned(), channel })
}

impl Connection {
    /// Makes a connection over a channel that there is already, for instance to an engine in this
    /// process.
    pub fn over(channel: Channel) -> Self {
        Self { path: PathBuf::new(), channel }
    }

    /// Returns the socket's path; empty when there is none.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the channel, for services that have no contract.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Asks whether the daemon does its work.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer at all.
    pub async fn serving(&self) -> Result<Serving> {
        let mut client = client!(HealthClient<Channel>, self.channel());
        let answer = client.check(HealthCheckRequest::default()).await.map_err(failed)?;
        Ok(match answer.into_inner().status() {
            ServingStatus::Serving => Serving::Yes,
            _ => Serving::No,
        })
    }

    /// Returns the daemon's content store.
    pub fn content(&self) -> content::Content {
        content::Content::new(self.channel())
    }

    /// Returns one of the daemon's snapshotters; that there is one of that name shows at the first
    /// call.
    pub fn snapshotter(&self, name: impl Into<String>) -> snapshots::Snapshots {
        snapshots::Snapshots::new(self.channel(), name)
    }

    /// Returns all of the daemon's snapshotters.
    pub fn snapshotters(&self) -> snapshots::Snapshotters {
        snapshots::Snapshotters::new(self.channel())
    }

    /// Returns the daemon's applier and comparer of layers.
    pub fn diff(&self) -> diff::Diff {
        diff::Diff::new(self.channel())
    }

    /// Returns the daemon's images.
    pub fn images(&self) -> images::Images {
        images::Images::new(self.channel())
    }

    /// Returns the daemon's containers.
    pub fn containers(&self) -> containers::Containers {
        containers::Containers::new(self.channel())
    }

    /// Returns the daemon's manager of mounts.
    pub fn mounts(&self) -> mounts::Mounts {
        mounts::Mounts::new(self.channel())
    }

    /// Returns the daemon's leases.
    pub fn leases(&self) -> leases::Leases {
        leases::Leases::new(self.channel())
    }

    /// Returns the daemon's namespaces.
    pub fn namespaces(&self) -> namespaces::Namespaces {
        namespaces::Namespaces::new(self.channel())
    }

    /// Returns the daemon's sandboxes.
    pub fn sandboxes(&self) -> sandboxes::Sandboxes {
        sandboxes::Sandboxes::new(self.channel())
    }

    /// Returns one of the daemon's sandbox controllers; that there is one of that name shows at the
    /// first call.
    pub fn sandbox_controller(&self, name: impl Into<String>) -> sandboxes::Controller {
        sandboxes::Controller::new(self.channel(), name)
    }

    /// Returns the daemon's events.
    pub fn events(&self) -> events::Events {
        events::Events::new(self.channel())
    }

    /// Returns the daemon's tasks.
    pub fn tasks(&self) -> tasks::Tasks {
        tasks::Tasks::new(self.channel())
    }

    /// Returns what the daemon says about itself.
    pub fn introspection(&self) -> introspection::Introspection {
        introspection::Introspection::new(self.channel())
    }

    /// Returns named streams to the daemon.
    pub fn streaming(&self) -> streaming::Streaming {
        streaming::Streaming::new(self.channel())
    }

    /// Returns the daemon's own pull, push, import and export.
    pub fn transfer(&self) -> transfer::Transfer {
        transfer::Transfer::new(self.channel())
    }
}
