//! Tar archives as streams: POSIX.1-2001 (ustar and pax), and what GNU tar and star add to it.
//!
//! [`read::Archive`] gives entries as data and bodies in pieces of the input's own buffers; it holds
//! one entry at a time, and refuses headers that would make it hold more than [`LIMIT`]. It trusts
//! nothing: all that is malformed is an `InvalidArgument`. [`write::Archive`] writes what containerd
//! writes: ustar, with a pax header before an entry that does not fit.

mod header;
mod pax;
pub(crate) mod read;
mod sparse;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use stowd_core::{Error, Result};

pub(crate) use sparse::Sparse;

/// The unit of archives.
pub(crate) const BLOCK: usize = 512;

/// The most bytes that an extended header or the map of a sparse file may have; Go's reader, and so
/// containerd's, has the same limit.
pub(crate) const LIMIT: u64 = 1 << 20;

/// Where a tar's bytes come from.
pub(crate) trait Input {
    /// Returns what can be had without copying, at least one byte; nothing at the end.
    fn fill(&mut self) -> Result<&[u8]>;

    /// Says that so many bytes of what [`fill`](Self::fill) returned are used up.
    fn consume(&mut self, count: usize);
}

/// Where a tar's bytes go.
pub(crate) trait Output {
    /// Returns room to write into, at least one byte.
    fn room(&mut self) -> &mut [u8];

    /// Says that so many bytes of what [`room`](Self::room) returned are filled.
    fn filled(&mut self, count: usize) -> Result<()>;
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    /// None that is known here; the flag as it stands in the header.
    Unknown(u8),
}

/// A time since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// One entry without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// As it stands in the archive.
    pub(crate) name: Vec<u8>,
    /// What a link points to.
    pub(crate) link: Vec<u8>,
    /// Permission bits, with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Time,
    pub(crate) accessed: Option<Time>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// The length of what is stored.
    pub(crate) size: u64,
    /// Where the stored pieces lie in a file with holes.
    pub(crate) sparse: Option<Sparse>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Says that an archive is not what it should be.
pub(crate) fn malformed(what: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("malformed layer: {what}"))
}

/// Returns the bytes before the first NUL.
fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn as_u32(value: u64, what: &str) -> Result<u32> {
    u32::try_from(value).map_err(|_| malformed(format_args!("{what} {value} is out of range")))
}
