//! `content ingest`.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use stowd_client::Client;
use stowd_core::content::{Commit, Store as _, Writer, WriterOptions};
use stowd_core::{Digest, Error, Result};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::failure::Outcome;

/// Stores standard input as a blob. Nothing refers to it yet: give it a label, or a lease, to keep
/// it from being collected.
#[derive(Debug, clap::Args)]
pub(crate) struct Ingest {
    /// The length that the blob must have
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    expected_size: u64,
    /// The digest that the blob must have
    #[arg(long, value_name = "DIGEST")]
    expected_digest: Option<String>,
    /// A name for what is being written
    #[arg(value_name = "KEY")]
    reference: String,
}

impl Ingest {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let expected = self.expected_digest.filter(|digest| !digest.is_empty());
        let expected: Option<Digest> = expected.map(|digest| digest.parse()).transpose()?;
        if self.reference.is_empty() {
            return Err(Error::invalid("must specify a transaction reference").into());
        }
        let client = at.client().await?;
        let size = (self.expected_size > 0).then_some(self.expected_size);
        let options = WriterOptions { reference: self.reference, total: size, expected };
        write(&client, options, Pieces::of(io::stdin())).await?;
        Ok(())
    }
}

/// A stream of bytes that is read on a thread of its own, as reading may block.
pub(super) struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Pieces {
    /// How much is read at a time.
    const SIZE: usize = 1 << 20;

    /// Begins to read.
    pub(super) fn of(mut from: impl Read + Send + 'static) -> Self {
        let (pieces, queue) = mpsc::channel(2);
        // The thread ends with the stream, or when nobody takes its pieces.
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = BytesMut::zeroed(Self::SIZE);
                let read = match from.read(&mut piece) {
                    Ok(0) => return,
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece.freeze())
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if pieces.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Self(queue)
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.0.recv().await.transpose();
        piece.map_err(|error| Error::io("read what is to be stored", &error))
    }
}

/// Writes a blob and returns its digest, where it is not known from the start.
pub(super) async fn write(
    client: &Client,
    options: WriterOptions,
    pieces: Pieces,
) -> Result<Option<Digest>> {
    let (total, expected) = (options.total, options.expected.clone());
    let reference = options.reference.clone();
    let opened = client.connection().content().writer(client.scope(), options).await;
    let mut writer = match opened {
        // There is nothing to write.
        Err(error) if error.is_already_exists() => return Ok(expected),
        opened => opened?,
    };
    copy(writer.as_mut(), pieces).await?;
    let digest = writer.digest();
    let commit = Commit { size: total, expected, ..Commit::default() };
    match writer.commit(commit).await {
        Ok(digest) => Ok(Some(digest)),
        Err(error) if error.is_already_exists() => Ok(digest),
        Err(error) => Err(error.context(format_args!("failed commit on ref {reference:?}"))),
    }
}

/// Goes on where an earlier writer stopped: what that wrote is skipped.
async fn copy(writer: &mut dyn Writer, mut pieces: Pieces) -> Result<()> {
    let mut skip = writer.status().offset;
    while let Some(mut piece) = pieces.next().await? {
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= skipped as u64;
        let rest = piece.split_off(skipped);
        if !rest.is_empty() {
            writer.write(rest).await?;
        }
    }
    Ok(())
}
