//! How a child and its creator talk: small messages over a socket that closes on `execve`.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::child::{Failure, Step};

/// What a child says.
#[derive(Debug)]
pub(crate) enum Message {
    /// It is in its new namespaces and waits for mappings and offsets.
    NeedsMaps,
    /// Its files are in place and it waits for hooks and limits.
    Ready,
    /// The terminal's master.
    Console(OwnedFd),
    /// It is about to wait for the start.
    Waiting,
    /// It has failed, and ends.
    Failed(Failure),
    /// It has become its program, or is gone.
    Closed,
}

const NEEDS_MAPS: u32 = 1;
const READY: u32 = 2;
const CONSOLE: u32 = 3;
const WAITING: u32 = 4;
const FAILED: u32 = 5;
const LENGTH: usize = 16;

/// The creator's end and the child's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The child's end. Nothing here allocates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a>(pub(crate) BorrowedFd<'a>);

impl Caller<'_> {
    /// Asks for maps and waits until they are there.
    pub(crate) fn needs_maps(self) -> Result<()> {
        self.send(NEEDS_MAPS, 0, 0, 0, None)?;
        self.wait()
    }

    /// Tells that the files are in place and waits to go on.
    pub(crate) fn ready(self) -> Result<()> {
        self.send(READY, 0, 0, 0, None)?;
        self.wait()
    }

    /// Hands over a descriptor: the terminal's master.
    pub(crate) fn console(self, master: BorrowedFd<'_>) -> Result<()> {
        self.send(CONSOLE, 0, 0, 0, Some(master))
    }

    /// Tells that the start is waited for.
    pub(crate) fn waiting(self) -> Result<()> {
        self.send(WAITING, 0, 0, 0, None)
    }

    /// Tells what went wrong.
    pub(crate) fn failed(self, failure: Failure) -> Result<()> {
        let errno = failure.errno.raw_os_error();
        self.send(FAILED, failure.step as u32, failure.index as u32, errno, None)
    }

    fn send(
        self,
        kind: u32,
        step: u32,
        index: u32,
        number: i32,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let mut bytes = [0u8; LENGTH];
        for (slot, value) in
            bytes.chunks_exact_mut(4).zip([kind, step, index, number.cast_unsigned()])
        {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).map(|_| ())
    }

    fn wait(self) -> Result<()> {
        let mut byte = [0u8; 1];
        loop {
            match rustix::io::read(self.0, &mut byte) {
                // The creator is gone.
                Ok(0) => return Err(Errno::PIPE),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Lets the child go on.
pub(crate) fn go(socket: impl AsFd) -> Result<()> {
    rustix::net::send(socket, b"g", SendFlags::NOSIGNAL).map(|_| ())
}

/// Waits for the child's next message.
pub(crate) fn receive(socket: impl AsFd) -> Result<Message> {
    let mut bytes = [0u8; LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            // Its end was closed with something unread in it.
            Err(Errno::CONNRESET) => break 0,
            Err(errno) => return Err(errno),
        }
    };
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    if length == 0 {
        return Ok(Message::Closed);
    }
    let word = |at: usize| {
        let mut word = [0u8; 4];
        word.copy_from_slice(&bytes[at * 4..at * 4 + 4]);
        u32::from_ne_bytes(word)
    };
    Ok(match (word(0), fd) {
        (NEEDS_MAPS, _) => Message::NeedsMaps,
        (READY, _) => Message::Ready,
        (CONSOLE, Some(fd)) => Message::Console(fd),
        (WAITING, _) => Message::Waiting,
        (FAILED, _) => Message::Failed(Failure {
            step: Step::from_number(word(1)),
            index: word(2) as usize,
            errno: Errno::from_raw_os_error(word(3).cast_signed().clamp(1, 4095)),
        }),
        _ => return Err(Errno::BADMSG),
    })
}
