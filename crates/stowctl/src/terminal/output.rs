//! Standard output and error, written without threads and without making everything else wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::PollFlags;
use tokio::io::{AsyncWrite, Interest};
use tokio::sync::watch;

use super::descriptor::{Descriptor, is_ready};

/// What a pipe takes at once when it takes anything (`PIPE_BUF`).
const PIPE_PIECE: usize = 4096;

/// Tells of output that nobody reads any more, as in `… | head -n 1`.
#[derive(Clone, Debug)]
pub(crate) struct Broken(Arc<watch::Sender<bool>>);

impl Default for Broken {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Broken {
    /// Waits until it is so.
    pub(crate) async fn broken(&self) {
        // The sender lives in `self`, so this ends only when it is so.
        let _ = self.0.subscribe().wait_for(|broken| *broken).await;
    }
}

/// One of them.
pub(super) struct Output {
    descriptor: Descriptor,
    broken: Broken,
}

impl Output {
    /// Returns standard output, unless it is closed.
    pub(super) fn stdout(broken: &Broken) -> Option<Self> {
        Self::of(rustix::stdio::stdout(), broken)
    }

    /// Returns standard error, unless it is closed.
    pub(super) fn stderr(broken: &Broken) -> Option<Self> {
        Self::of(rustix::stdio::stderr(), broken)
    }

    fn of(stream: impl AsFd, broken: &Broken) -> Option<Self> {
        let descriptor = Descriptor::of(stream, Interest::WRITABLE)?;
        Some(Self { descriptor, broken: broken.clone() })
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &this.descriptor {
            Descriptor::Ready(fd) => write(fd, data),
            Descriptor::Waits(waits) => loop {
                let mut guard = ready!(waits.poll_write_ready(cx))?;
                if is_ready(waits.get_ref(), PollFlags::OUT) {
                    // A longer write could wait for room in spite of this.
                    break write(waits.get_ref(), &data[..data.len().min(PIPE_PIECE)]);
                }
                guard.clear_ready();
            },
        };
        if written.is_err() {
            this.broken.0.send_replace(true);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn write(fd: &OwnedFd, data: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(fd, data) {
            Err(rustix::io::Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}
