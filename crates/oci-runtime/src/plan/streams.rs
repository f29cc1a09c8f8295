//! The descriptors of a program.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use stowd_sys::exec::duplicate_from;

use crate::error::{Error, Result};
use crate::options::Stdio;

/// Where a child's descriptors come from.
#[derive(Debug)]
pub(crate) struct Streams {
    /// 0, 1 and 2; `None` keeps the caller's.
    pub(crate) standard: Option<[OwnedFd; 3]>,
    /// From 3 up.
    pub(crate) extra: Vec<OwnedFd>,
    /// Whether 0 to 2 become a new terminal.
    pub(crate) terminal: bool,
    /// Its size: rows, columns.
    pub(crate) size: Option<(u16, u16)>,
}

impl Streams {
    /// Takes the descriptors, and moves them out of the way of the numbers they get.
    pub(crate) fn new(
        stdio: Stdio,
        extra: Vec<OwnedFd>,
        wants_terminal: bool,
        size: Option<(u16, u16)>,
    ) -> Result<Streams> {
        let is_terminal = matches!(stdio, Stdio::Terminal);
        if wants_terminal && !is_terminal {
            return Err(Error::InvalidSpec(
                "cannot allocate tty without a console to hand it to".into(),
            ));
        }
        if is_terminal && !wants_terminal {
            return Err(Error::InvalidSpec(
                "a console was asked for, but process.terminal is false".into(),
            ));
        }
        let lowest = 3 + extra.len() as RawFd;
        let or_null = |fd: Option<OwnedFd>| match fd {
            Some(fd) => Ok(fd),
            None => open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::file("open", "/dev/null".as_ref(), errno)),
        };
        let standard = match stdio {
            Stdio::Inherit => None,
            Stdio::Fds { stdin, stdout, stderr } => {
                Some([or_null(stdin)?, or_null(stdout)?, or_null(stderr)?])
            }
            // Until the terminal is there, so that nothing else gets these numbers.
            Stdio::Terminal => Some([or_null(None)?, or_null(None)?, or_null(None)?]),
        };
        let standard = match standard {
            Some([a, b, c]) => Some([above(a, lowest)?, above(b, lowest)?, above(c, lowest)?]),
            None => None,
        };
        let extra = extra.into_iter().map(|fd| above(fd, lowest)).collect::<Result<_>>()?;
        Ok(Streams { standard, extra, terminal: is_terminal, size })
    }

    /// The first number that none of the program's descriptors has.
    pub(crate) fn lowest(&self) -> RawFd {
        3 + self.extra.len() as RawFd
    }
}

/// `fd` under a number not below `lowest`.
pub(crate) fn above(fd: OwnedFd, lowest: RawFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= lowest {
        return Ok(fd);
    }
    duplicate_from(&fd, lowest).map_err(Error::system("dup"))
}
