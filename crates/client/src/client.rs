//! A daemon, a namespace, and what they default to.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use stowd_core::introspection::{Introspection as _, Version};
use stowd_core::leases::Store as _;
use stowd_core::namespaces::Store as _;
use stowd_core::{Labels, Namespace, Result, Scope, labels};
use stowd_proxy::Connection;

/// The snapshotter of namespaces that name none.
const DEFAULT_SNAPSHOTTER: &str = "overlayfs";
/// The runtime of namespaces that name none.
const DEFAULT_RUNTIME: &str = "io.containerd.runc.v2";
/// How long a lease may live whose owner died.
const LEASE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection to a daemon, used in one namespace.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
    scope: Scope,
}

/// What a namespace uses where nothing is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The snapshotter.
    pub snapshotter: String,
    /// The runtime.
    pub runtime: String,
}

impl Client {
    /// Connects to the daemon's socket.
    ///
    /// # Errors
    /// `Unavailable` when nobody listens there, `PermissionDenied` when the caller may not,
    /// `InvalidArgument` for a namespace that cannot be one.
    pub async fn connect(address: impl AsRef<Path>, namespace: &str) -> Result<Self> {
        Self::over(stowd_proxy::connect(address).await?, namespace)
    }

    /// Makes a client over a connection that there is already, for instance to an engine in this
    /// process.
    ///
    /// # Errors
    /// `InvalidArgument` for a namespace that cannot be one.
    pub fn over(connection: Connection, namespace: &str) -> Result<Self> {
        Ok(Self { connection, scope: Scope::new(Namespace::new(namespace)?) })
    }

    /// Returns the connection, which speaks all contracts of `core`.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the namespace, and the lease if there is one, that calls are made in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the namespace's name.
    pub fn namespace(&self) -> &str {
        self.scope.namespace.as_str()
    }

    /// Returns the same connection used in another namespace.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that cannot be a namespace's.
    pub fn in_namespace(&self, namespace: &str) -> Result<Self> {
        let scope = Scope::new(Namespace::new(namespace)?);
        Ok(Self { connection: self.connection.clone(), scope })
    }

    /// Returns the same client under a lease, which protects all that it makes.
    #[must_use]
    pub fn with_lease(&self, lease: &str) -> Self {
        let scope = self.scope.clone().with_lease(lease);
        Self { connection: self.connection.clone(), scope }
    }

    /// Asks for the daemon's version.
    ///
    /// # Errors
    /// `Unavailable` when the daemon does not answer.
    pub async fn version(&self) -> Result<Version> {
        self.connection.introspection().version().await
    }

    /// Returns what is used where nothing is named: what the namespace's labels say, or containerd's
    /// own choice.
    ///
    /// # Errors
    /// Those of the daemon.
    pub async fn defaults(&self) -> Result<Defaults> {
        let labels = match self.connection.namespaces().get(&self.scope.namespace).await {
            Ok(found) => found,
            // A namespace comes into being with its first object.
            Err(error) if error.is_not_found() => Labels::new(),
            Err(error) => return Err(error),
        };
        let of = |label: &str, fallback: &str| {
            labels.get(label).map_or(fallback, String::as_str).to_owned()
        };
        Ok(Defaults {
            snapshotter: of(labels::DEFAULT_SNAPSHOTTER, DEFAULT_SNAPSHOTTER),
            runtime: of(labels::DEFAULT_RUNTIME, DEFAULT_RUNTIME),
        })
    }

    /// Returns `name`, or when it is empty the namespace's default snapshotter.
    pub(crate) async fn snapshotter_or_default(&self, name: &str) -> Result<String> {
        if name.is_empty() { Ok(self.defaults().await?.snapshotter) } else { Ok(name.to_owned()) }
    }

    /// Makes a lease that expires after a day, and returns the client under it and its id.
    ///
    /// Work in several steps needs one, as garbage collection may come between any two. Give it
    /// back with [`release`](Self::release).
    ///
    /// # Errors
    /// Those of the daemon.
    pub async fn lease(&self) -> Result<(Self, String)> {
        let id = format!("stowd-client-{}", crate::fifo::random_name()?);
        let expires = expiry(LEASE_LIFE);
        let labels = Labels::from([(labels::GC_EXPIRE.to_owned(), expires)]);
        self.connection.leases().create(&self.scope, &id, labels).await?;
        Ok((self.with_lease(&id), id))
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// Those of the daemon; a lease that is gone already counts as given back.
    pub async fn release(&self, lease: &str) -> Result<()> {
        let collect = stowd_core::images::Collect::Later;
        match self.connection.leases().delete(&self.scope, lease, collect).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The time at which something that lives this long ends, as labels have it (RFC 3339).
fn expiry(life: Duration) -> String {
    let at = SystemTime::now() + life;
    // Out of range only for a clock that is thousands of years off; the lease is then collected early.
    Timestamp::try_from(at).unwrap_or_default().to_string()
}
