//! `containerd.services.transfer.v1`.
//!
//! Source and destination are typed values; those that name streams take them over from the
//! streaming service: archives, progress, credentials.

mod bytes_stream;

use std::sync::Arc;

use stowd_api::services::transfer::v1 as api;
use stowd_api::types::transfer as types;
use stowd_api::{Any, Name};
use stowd_core::progress::{Progress, Silent, Sink};
use stowd_core::streaming::{Stream, Streams};
use stowd_core::transfer::{Credentials, Destination, RegistryRef, Secret, Source, Transfer};
use stowd_core::{Error, Result, Scope};
use tokio::sync::mpsc;
use tonic::Request;

use crate::request::{Answer, answer, required, scoped};
use bytes_stream::{Upload, reader, writer};

/// Reports that may wait for a slow client; the newest are dropped beyond.
const REPORTS: usize = 1024;

/// Serves transfers.
pub struct Service {
    /// What moves images.
    pub transfer: Arc<dyn Transfer>,
    /// Where named streams wait.
    pub streams: Arc<dyn Streams>,
}

#[tonic::async_trait]
impl api::transfer_server::Transfer for Service {
    async fn transfer(&self, request: Request<api::TransferRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        answer(self.run(&scope, request).await, |()| ())
    }
}

impl Service {
    async fn run(&self, scope: &Scope, request: api::TransferRequest) -> Result<()> {
        let source = required(request.source, "source")?;
        let destination = required(request.destination, "destination")?;
        let pair = format!("{} to {}", source.type_url, destination.type_url);
        let options = request.options.unwrap_or_default();
        let (progress, reports) = self.progress(scope, &options.progress_stream).await?;
        let mut uploads = Vec::new();
        let source = self.source(scope, source).await?;
        let destination = self.destination(scope, destination, &mut uploads).await?;
        let done = match (source, destination) {
            (Some(source), Some(destination)) => {
                self.transfer.transfer(scope, source, destination, progress).await
            }
            _ => Err(Error::not_implemented(format_args!("transfer {pair}"))),
        };
        for upload in uploads {
            // What was written reaches the client before the answer does.
            upload.finished().await;
        }
        if let Some(reports) = reports {
            // The client prints them before it sees the answer.
            let _ = reports.await;
        }
        done
    }

    async fn source(&self, scope: &Scope, any: Any) -> Result<Option<Source>> {
        if let Some(registry) = unpack::<types::OciRegistry>(&any)? {
            return Ok(Some(Source::Registry(self.registry(scope, registry).await?)));
        }
        if let Some(stream) = unpack::<types::ImageImportStream>(&any)? {
            let stream = self.streams.take(scope, &stream.stream).await?;
            return Ok(Some(Source::Archive(Box::new(reader(stream)))));
        }
        if let Some(store) = unpack::<types::ImageStore>(&any)? {
            let names = std::iter::once(store.name)
                .filter(|name| !name.is_empty())
                .chain(store.extra_references.into_iter().map(|reference| reference.name));
            return Ok(Some(Source::Images(names.collect())));
        }
        Ok(None)
    }

    async fn destination(
        &self,
        scope: &Scope,
        any: Any,
        uploads: &mut Vec<Upload>,
    ) -> Result<Option<Destination>> {
        if let Some(registry) = unpack::<types::OciRegistry>(&any)? {
            return Ok(Some(Destination::Registry(self.registry(scope, registry).await?)));
        }
        if let Some(export) = unpack::<types::ImageExportStream>(&any)? {
            let stream = self.streams.take(scope, &export.stream).await?;
            let (writer, upload) = writer(stream);
            uploads.push(upload);
            return Ok(Some(Destination::Archive(Box::new(writer), export.into())));
        }
        Ok(unpack::<types::ImageStore>(&any)?.map(|store| Destination::Images(store.into())))
    }

    async fn registry(&self, scope: &Scope, registry: types::OciRegistry) -> Result<RegistryRef> {
        let stream = registry.resolver.as_ref().map(|r| r.auth_stream.clone()).unwrap_or_default();
        let mut registry = RegistryRef::from(registry);
        if !stream.is_empty() {
            let stream = self.streams.take(scope, &stream).await?;
            registry.credentials =
                Some(Arc::new(Asked { stream, turn: tokio::sync::Mutex::new(()) }));
        }
        Ok(registry)
    }

    /// Returns where reports go, and what ends when the last of them is sent.
    async fn progress(
        &self,
        scope: &Scope,
        id: &str,
    ) -> Result<(Arc<dyn Sink>, Option<tokio::task::JoinHandle<()>>)> {
        if id.is_empty() {
            return Ok((Arc::new(Silent), None));
        }
        let stream = self.streams.take(scope, id).await?;
        let (sender, mut reports) = mpsc::channel::<Progress>(REPORTS);
        let sent = tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                if stream.send(Any::pack(&types::Progress::from(report)).into()).await.is_err() {
                    break;
                }
            }
            let _ = stream.close().await;
        });
        Ok((Arc::new(Reports(sender)), Some(sent)))
    }
}

/// Queues reports for the client. When it is too slow it misses some; the transfer does not wait.
struct Reports(mpsc::Sender<Progress>);

impl Sink for Reports {
    fn report(&self, progress: Progress) {
        let _ = self.0.try_send(progress);
    }
}

/// Asks the client for credentials over its stream, one question at a time.
struct Asked {
    stream: Arc<dyn Stream>,
    turn: tokio::sync::Mutex<()>,
}

#[tonic::async_trait]
impl Credentials for Asked {
    async fn secret(&self, reference: &str, host: &str) -> Result<Option<Secret>> {
        let _turn = self.turn.lock().await;
        let question = types::AuthRequest {
            host: host.to_owned(),
            reference: reference.to_owned(),
            wwwauthenticate: Vec::new(),
        };
        self.stream.send(Any::pack(&question).into()).await?;
        let Some(answer) = self.stream.receive().await? else { return Ok(None) };
        let Some(answer) = unpack::<types::AuthResponse>(&answer.into())? else { return Ok(None) };
        Ok(match answer.auth_type() {
            types::AuthType::None => None,
            _ if answer.secret.is_empty() => None,
            types::AuthType::Credentials => {
                Some(Secret::Basic { username: answer.username, password: answer.secret })
            }
            types::AuthType::Refresh => Some(Secret::Refresh(answer.secret)),
            types::AuthType::Header => Some(Secret::Bearer(answer.secret)),
        })
    }
}

fn unpack<M: Name + Default>(any: &Any) -> Result<Option<M>> {
    any.unpack().map_err(|error| Error::invalid(format_args!("{}: {error}", any.type_url)))
}
