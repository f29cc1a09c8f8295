//! Standard input, read only as far as somebody takes it: what is left belongs to the next program.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::PollFlags;
use tokio::io::{AsyncRead, Interest, ReadBuf};

use super::descriptor::{Descriptor, is_ready};

/// Standard input.
pub(super) struct Input(Descriptor);

impl Input {
    /// Returns standard input, unless it is closed.
    pub(super) fn stdin() -> Option<Self> {
        Descriptor::of(rustix::stdio::stdin(), Interest::READABLE).map(Self)
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waits = match &self.0 {
            Descriptor::Ready(fd) => return Poll::Ready(read(fd, buffer)),
            Descriptor::Waits(waits) => waits,
        };
        loop {
            let mut guard = ready!(waits.poll_read_ready(cx))?;
            // The descriptor blocks, so it is asked instead of tried.
            if is_ready(waits.get_ref(), PollFlags::IN) {
                return Poll::Ready(read(waits.get_ref(), buffer));
            }
            guard.clear_ready();
        }
    }
}

fn read(fd: &OwnedFd, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    let count = loop {
        match rustix::io::read(fd, buffer.initialize_unfilled()) {
            Err(rustix::io::Errno::INTR) => {}
            done => break done?,
        }
    };
    buffer.advance(count);
    Ok(())
}
