//! Puts an engine behind its sockets.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use stowd_api::services as api;
use stowd_api::ttrpc;
use stowd_core::{Error, Result};
use stowd_services as services;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::gate::Gate;
use crate::notify::notify;
use crate::sockets::listen;
use crate::{Config, Engine};

/// How long calls may take to end once the daemon is told to stop. Subscriptions and waits never
/// end by themselves; what changes something is whole or undone after any kill.
const GRACE: Duration = Duration::from_millis(300);

/// How much a client may send of one call before it is read: a layer's pieces should not wait.
const STREAM_WINDOW: u32 = 4 << 20;

/// Tells a server to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Makes a server's stop, not yet pulled.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Stops the server.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the stop is pulled.
    pub fn pulled(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut watch = self.0.subscribe();
        async move {
            // The sender lives in `self`'s clones: when all are gone, nobody can stop us any more.
            if watch.wait_for(|pulled| *pulled).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// Serves the engine on its sockets until it is told to stop, then closes it.
    ///
    /// # Errors
    /// When a socket cannot be listened on, or the server fails.
    pub async fn serve(self, stop: Stop) -> Result<()> {
        let grpc = listen(&self.config.grpc)?;
        let socket = self.config.grpc.path.clone();
        // Clients wait in the socket's backlog until every running task is known again.
        let shims = self.meet_shims().await?;
        tracing::info!(address = %socket.display(), "serving");
        notify("READY=1");
        let stopping = {
            let pulled = stop.pulled();
            tokio::spawn(async move {
                pulled.await;
                notify("STOPPING=1");
            })
        };
        let served = self.answer(UnixListenerStream::new(grpc), &stop).await;
        stopping.abort();
        // A client that finds no socket knows at once that nobody is there.
        let _ = std::fs::remove_file(socket);
        self.leave(shims).await;
        tracing::info!("stopped");
        served
    }

    /// Listens for the shims' events, and finds the tasks of before.
    pub(crate) async fn meet_shims(&self) -> Result<JoinHandle<()>> {
        let listener = listen(&self.config.ttrpc)?;
        let shims = tokio::spawn(serve_ttrpc(listener, self.forwarder()));
        self.restore().await;
        Ok(shims)
    }

    /// Answers calls until it is told to stop.
    pub(crate) async fn answer<S, I>(&self, incoming: S, stop: &Stop) -> Result<()>
    where
        S: Stream<Item = std::io::Result<I>>,
        I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let serving = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(4 * STREAM_WINDOW)
            .layer(Gate::new(&self.config.disabled))
            .add_routes(self.routes())
            .serve_with_incoming_shutdown(incoming, stop.pulled());
        let deadline = async {
            stop.pulled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| Error::internal(format_args!("serve: {error}"))),
            () = deadline => Ok(()),
        }
    }

    /// Stops listening for shims, which keep their events, and closes the stores.
    pub(crate) async fn leave(self, shims: JoinHandle<()>) {
        shims.abort();
        let _ = std::fs::remove_file(&self.config.ttrpc.path);
        self.shutdown().await;
    }

    fn routes(&self) -> Routes {
        /// Builds a service's server with the daemon's limits.
        macro_rules! limited {
            ($config:expr, $server:path, $service:expr) => {
                <$server>::new($service)
                    .max_decoding_message_size($config.max_receive)
                    .max_encoding_message_size($config.max_send)
            };
        }
        let config: &Config = &self.config;
        let (appliers, comparers) = self.differs().into_iter().unzip();
        Routes::new(limited!(
            config,
            api::version::v1::version_server::VersionServer<_>,
            services::version::Service(self.introspection())
        ))
        .add_service(limited!(
            config,
            stowd_api::health::v1::health_server::HealthServer<_>,
            services::health::Service
        ))
        .add_service(limited!(
            config,
            api::introspection::v1::introspection_server::IntrospectionServer<_>,
            services::introspection::Service(self.introspection())
        ))
        .add_service(limited!(
            config,
            api::namespaces::v1::namespaces_server::NamespacesServer<_>,
            services::namespaces::Service(self.namespaces())
        ))
        .add_service(limited!(
            config,
            api::leases::v1::leases_server::LeasesServer<_>,
            services::leases::Service(self.leases())
        ))
        .add_service(limited!(
            config,
            api::mounts::v1::mounts_server::MountsServer<_>,
            services::mounts::Service(self.mounts())
        ))
        .add_service(limited!(
            config,
            api::content::v1::content_server::ContentServer<_>,
            services::content::Service(self.content())
        ))
        .add_service(limited!(
            config,
            api::images::v1::images_server::ImagesServer<_>,
            services::images::Service(self.images())
        ))
        .add_service(limited!(
            config,
            api::containers::v1::containers_server::ContainersServer<_>,
            services::containers::Service(self.containers())
        ))
        .add_service(limited!(
            config,
            api::sandbox::v1::store_server::StoreServer<_>,
            services::sandboxes::Service(self.sandboxes())
        ))
        .add_service(limited!(
            config,
            api::sandbox::v1::controller_server::ControllerServer<_>,
            services::sandboxes::Controllers(self.sandboxers())
        ))
        .add_service(limited!(
            config,
            api::snapshots::v1::snapshots_server::SnapshotsServer<_>,
            services::snapshots::Service(self.snapshotters())
        ))
        .add_service(limited!(
            config,
            api::diff::v1::diff_server::DiffServer<_>,
            services::diff::Service { appliers, comparers }
        ))
        .add_service(limited!(
            config,
            api::events::v1::events_server::EventsServer<_>,
            services::events::Service(self.events())
        ))
        .add_service(limited!(
            config,
            api::tasks::v1::tasks_server::TasksServer<_>,
            services::tasks::Service(self.tasks())
        ))
        .add_service(limited!(
            config,
            api::streaming::v1::streaming_server::StreamingServer<_>,
            services::streaming::Service(self.streams())
        ))
        .add_service(limited!(
            config,
            api::transfer::v1::transfer_server::TransferServer<_>,
            services::transfer::Service { transfer: self.transfer(), streams: self.streams() }
        ))
    }

    fn forwarder(&self) -> Arc<dyn ttrpc::Service> {
        let manager = self.manager();
        Arc::new(services::events::Ttrpc(move |envelope| {
            let manager = manager.clone();
            async move { manager.forwarded(envelope).await }
        }))
    }
}

async fn serve_ttrpc(listener: UnixListener, service: Arc<dyn ttrpc::Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    let served = ttrpc::serve(stream, service, ttrpc::Dispatch::InOrder).await;
                    if let Err(error) = served {
                        tracing::debug!(%error, "a shim's connection broke");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: it passes, and shims keep their events until then.
                tracing::warn!(%error, "cannot accept a shim's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
