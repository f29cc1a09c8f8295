//! Bringing one blob into the content store.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use stowd_core::content::{Commit, Info, Writer, WriterOptions};
use stowd_core::registry::Repository;
use stowd_core::{Descriptor, Error, ErrorKind, Labels, Result, labels};
use stowd_images::document::{Document, MAX_SIZE, kind};
use stowd_images::{graph, links, put};

use crate::job::{Job, Origin};
use crate::lease::{hold, unique};
use crate::stream::Feed;
use crate::tracker::key;

/// How long another writer of the same ingest may stand still before we write one of our own.
const STALLED: Duration = Duration::from_secs(20);

impl Job {
    /// Brings a document or config and returns it. A document gets its links with its bytes, so
    /// that it is never there without them.
    pub(crate) async fn document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        self.unless_failed(self.bring_document(descriptor)).await
    }

    /// Brings a blob. When its download starts at the first byte, `feed` is asked for somebody
    /// who wants the bytes as they come.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        feed: impl FnOnce() -> Option<Feed> + Send,
    ) -> Result<()> {
        self.unless_failed(self.bring(descriptor, feed)).await
    }

    async fn bring_document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let Descriptor { digest, size, .. } = descriptor;
        let name = format!("{} {digest}", kind(&descriptor.media_type));
        if *size > MAX_SIZE {
            return Err(Error::invalid(format_args!(
                "{name} has {size} bytes, more than the {MAX_SIZE} that are read"
            )));
        }
        let content = &*self.shared.parts.content;
        if let Some(info) = self.info(descriptor).await? {
            return self.present_document(descriptor, info).await;
        }
        let Origin::Registry { repository, .. } = &self.origin else {
            return Err(Error::not_found(format_args!("content digest {digest}")));
        };
        let _flight = self.shared.flights.take(&format!("blob {digest}")).await;
        if let Some(info) = self.info(descriptor).await? {
            return self.present_document(descriptor, info).await;
        }
        let mut data = BytesMut::with_capacity(usize::try_from(*size).unwrap_or_default());
        let mut download = repository.fetch(descriptor, 0).await?;
        while let Some(piece) = download.next().await {
            data.extend_from_slice(&piece?);
        }
        let data = data.freeze();
        let mut hasher = digest.algorithm().hasher();
        hasher.update(&data);
        if hasher.digest() != *digest || data.len() as u64 != *size {
            return Err(Error::failed_precondition(format_args!(
                "{name}: the registry sent something else: {} bytes of digest {}",
                data.len(),
                hasher.digest()
            )));
        }
        let mut labels = self.source_labels(None);
        labels.extend(links_of(descriptor, &data)?);
        let reference = key(descriptor);
        match put(content, &self.scope, &reference, digest, data.clone(), labels.clone()).await {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                // Another client writes the same document; it is too short to wait for.
                let own = format!("{reference} {}", unique()?);
                put(content, &self.scope, &own, digest, data.clone(), labels).await?;
            }
            done => done?,
        }
        self.note("content", digest.as_str());
        self.tracker.done("complete", descriptor);
        Ok(data)
    }

    async fn present_document(&self, descriptor: &Descriptor, info: Info) -> Result<Bytes> {
        let content = &*self.shared.parts.content;
        let data = graph::read(content, &self.scope, descriptor).await?;
        let mut labels = self.source_labels(Some(&info));
        labels.extend(links_of(descriptor, &data)?);
        links::write(content, &self.scope, &descriptor.digest, &labels).await?;
        self.tracker.done("already exists", descriptor);
        Ok(data)
    }

    async fn bring(
        &self,
        descriptor: &Descriptor,
        feed: impl FnOnce() -> Option<Feed> + Send,
    ) -> Result<()> {
        if let Some(info) = self.info(descriptor).await? {
            return self.present(descriptor, info).await;
        }
        let Origin::Registry { repository, .. } = &self.origin else {
            if self.passes_missing() {
                return Ok(());
            }
            let digest = &descriptor.digest;
            return Err(Error::not_found(format_args!("content digest {digest}")));
        };
        let _flight = self.shared.flights.take(&format!("blob {}", descriptor.digest)).await;
        if let Some(info) = self.info(descriptor).await? {
            return self.present(descriptor, info).await;
        }
        let _permit = self
            .shared
            .downloads
            .acquire()
            .await
            .map_err(|_| Error::canceled("downloads are closed"))?;
        self.download(&**repository, descriptor, feed).await?;
        self.note("content", descriptor.digest.as_str());
        self.tracker.done("complete", descriptor);
        Ok(())
    }

    async fn present(&self, descriptor: &Descriptor, info: Info) -> Result<()> {
        let labels = self.source_labels(Some(&info));
        let content = &*self.shared.parts.content;
        links::write(content, &self.scope, &descriptor.digest, &labels).await?;
        self.tracker.done("already exists", descriptor);
        Ok(())
    }

    /// Downloads a blob, from where an earlier download stopped.
    async fn download(
        &self,
        repository: &dyn Repository,
        descriptor: &Descriptor,
        feed: impl FnOnce() -> Option<Feed> + Send,
    ) -> Result<()> {
        let Descriptor { digest, size, .. } = descriptor;
        let content = &self.shared.parts.content;
        let Some(mut writer) = self.writer(descriptor).await? else { return Ok(()) };
        let reference = writer.status().reference;
        self.note("ingests", &reference);
        let mut feed = Some(feed);
        loop {
            let mut at = writer.status().offset;
            if at > *size {
                writer.truncate(0).await?;
                at = 0;
            }
            let resumed = at > 0;
            let mut listener = None;
            if at < *size {
                let mut download = repository.fetch(descriptor, at).await?;
                listener = feed.take().filter(|_| !resumed).and_then(|feed| feed());
                while let Some(piece) = download.next().await {
                    let piece = piece?;
                    at += piece.len() as u64;
                    writer.write(piece.clone()).await?;
                    if let Some(listener) = &listener {
                        listener.give(piece).await;
                    }
                    self.tracker.bytes("downloading", descriptor, at);
                }
            }
            let commit = Commit {
                size: Some(*size),
                expected: Some(digest.clone()),
                labels: self.source_labels(None),
            };
            match writer.commit(commit).await {
                Err(error) if error.is_already_exists() => {}
                Err(error) if error.is(ErrorKind::FailedPrecondition) && resumed => {
                    tracing::warn!(%error, %digest, "what an earlier download left is no good");
                    writer.truncate(0).await?;
                    continue;
                }
                Err(error) => {
                    drop(writer);
                    if error.is(ErrorKind::FailedPrecondition) {
                        // The next try must not continue from wrong bytes.
                        let _ = content.abort(&self.scope, &reference).await;
                    }
                    return Err(error);
                }
                Ok(_) => {}
            }
            // Only now: whoever unpacks must not succeed with bytes that nobody vouches for.
            if let Some(listener) = listener {
                listener.end();
            }
            return Ok(());
        }
    }

    /// Opens the ingest of a blob; none when the blob has come in the meantime.
    async fn writer(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Writer>>> {
        let content = &self.shared.parts.content;
        let mut options = WriterOptions {
            reference: key(descriptor),
            total: Some(descriptor.size),
            expected: Some(descriptor.digest.clone()),
        };
        let mut last = 0;
        let mut still = Duration::ZERO;
        let mut wait = Duration::from_millis(20);
        loop {
            match content.writer(&self.scope, options.clone()).await {
                Ok(writer) => return Ok(Some(writer)),
                Err(error) if error.is_already_exists() => return Ok(None),
                Err(error) if error.is(ErrorKind::Unavailable) => {}
                Err(error) => return Err(error),
            }
            // A client that pulls by itself writes this very blob.
            tokio::time::sleep(wait).await;
            let offset = content
                .status(&self.scope, &options.reference)
                .await
                .map(|status| status.offset)
                .unwrap_or_default();
            still = if offset == last { still + wait } else { Duration::ZERO };
            last = offset;
            wait = (wait * 2).min(Duration::from_secs(1));
            if still >= STALLED {
                options.reference = format!("{} {}", key(descriptor), unique()?);
                still = Duration::ZERO;
            }
        }
    }

    /// Returns what is known of a blob that is here, and holds it: what an image that is gone has
    /// left behind may be collected at any time.
    async fn info(&self, descriptor: &Descriptor) -> Result<Option<Info>> {
        let Descriptor { digest, size, .. } = descriptor;
        let content = &self.shared.parts.content;
        match content.info(&self.scope, digest).await {
            Err(error) if error.is_not_found() => return Ok(None),
            done => done?,
        };
        hold(&self.shared, &self.scope, "content", digest.as_str()).await?;
        match content.info(&self.scope, digest).await {
            Ok(info) if info.size != *size => Err(Error::invalid(format_args!(
                "{digest} has {} bytes and not the {size} that it should have",
                info.size
            ))),
            Err(error) if error.is_not_found() => Ok(None),
            done => done.map(Some),
        }
    }

    /// Returns the label that says where a blob is from, beside where it was from before.
    fn source_labels(&self, info: Option<&Info>) -> Labels {
        let Origin::Registry { repository, label } = &self.origin else { return Labels::new() };
        let ours = repository.reference().repository();
        let before = info.and_then(|info| info.labels.get(label)).map_or("", String::as_str);
        let mut all: Vec<&str> = before.split(',').filter(|it| !it.is_empty()).collect();
        all.push(ours);
        all.sort_unstable();
        all.dedup();
        let value = all.join(",");
        // A layer that everyone uses has more sources than a label can name.
        if labels::check(label, &value).is_err() {
            return Labels::new();
        }
        Labels::from([(label.clone(), value)])
    }
}

fn links_of(descriptor: &Descriptor, data: &[u8]) -> Result<Labels> {
    if !Document::is_one(&descriptor.media_type) {
        return Ok(Labels::new());
    }
    Ok(links::to(&Document::parse(descriptor, data)?.into_children()))
}

/// Returns the label by which content is marked as coming from a registry: containerd names the
/// host without its port.
pub(crate) fn source_label(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    format!("{}.{name}", labels::DISTRIBUTION_SOURCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (host, name) in
            [("reg.example:5000", "reg.example"), ("docker.io", "docker.io"), ("[::1]:50", "::1")]
        {
            assert_eq!(source_label(host), format!("containerd.io/distribution.source.{name}"));
        }
    }
}
