//! Keeps calls away from services whose plugin is disabled: they are answered as what is not there.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use tonic::Status;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tower::Layer;

/// Services with the plugins that they need, as containerd has them; `io.containerd.` stands before each.
const NEEDS: &[(&str, &[&str])] = &[
    (
        "containerd.services.containers.v1.",
        &["grpc.v1.containers", "service.v1.containers-service"],
    ),
    ("containerd.services.content.v1.", &["grpc.v1.content", "service.v1.content-service"]),
    ("containerd.services.diff.v1.", &["grpc.v1.diff", "service.v1.diff-service"]),
    ("containerd.services.events.v1.", &["grpc.v1.events"]),
    ("containerd.services.images.v1.", &["grpc.v1.images", "service.v1.images-service"]),
    (
        "containerd.services.introspection.v1.",
        &["grpc.v1.introspection", "service.v1.introspection-service"],
    ),
    ("containerd.services.leases.v1.", &["grpc.v1.leases", "lease.v1.manager"]),
    ("containerd.services.mounts.v1.", &["grpc.v1.mounts", "mount-manager.v1.bolt"]),
    (
        "containerd.services.namespaces.v1.",
        &["grpc.v1.namespaces", "service.v1.namespaces-service"],
    ),
    ("containerd.services.sandbox.v1.Controller/", &["grpc.v1.sandbox-controllers"]),
    ("containerd.services.sandbox.v1.Store/", &["grpc.v1.sandboxes", "sandbox.store.v1.local"]),
    ("containerd.services.snapshots.v1.", &["grpc.v1.snapshots", "service.v1.snapshots-service"]),
    ("containerd.services.streaming.v1.", &["grpc.v1.streaming", "streaming.v1.manager"]),
    ("containerd.services.tasks.v1.", &["grpc.v1.tasks", "service.v1.tasks-service"]),
    ("containerd.services.transfer.v1.", &["grpc.v1.transfer", "transfer.v1.local"]),
    ("containerd.services.version.v1.", &["grpc.v1.version"]),
    ("grpc.health.v1.", &["grpc.v1.healthcheck"]),
];

/// Which services are shut.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Vec<&'static str>);

impl Gate {
    /// Shuts the services that need one of these plugins.
    pub(crate) fn new(disabled: &[String]) -> Self {
        let is_disabled = |plugin: &&str| {
            disabled.iter().any(|uri| uri.strip_prefix("io.containerd.") == Some(plugin))
        };
        let shut = NEEDS.iter().filter(|(_, needs)| needs.iter().any(is_disabled));
        Self(shut.map(|(service, _)| *service).collect())
    }

    fn shuts(&self, path: &str) -> bool {
        let method = path.trim_start_matches('/');
        self.0.iter().any(|service| method.starts_with(service))
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// Services behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S, B, R> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if !self.gate.shuts(path) {
            return Either::Left(self.inner.call(request));
        }
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let status = Status::unimplemented(format!("unknown service {service}"));
        Either::Right(ready(Ok(status.into_http())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuts_what_needs_a_disabled_plugin() {
        let gate = Gate::new(&["io.containerd.service.v1.images-service".to_owned()]);
        assert!(gate.shuts("/containerd.services.images.v1.Images/List"));
        assert!(!gate.shuts("/containerd.services.content.v1.Content/List"));
        assert!(!Gate::new(&[]).shuts("/containerd.services.images.v1.Images/List"));
    }
}
