//! Reading a tar entry by entry, with bounded memory.
//!
//! The `tar` crate parses headers here and nothing else: its own iterator reads names of any
//! length into memory, and an entry that is cut off looks to it like one that ends.

use std::io::{self, Read};

use stowd_core::{Error, Result};
use tar::{EntryType, Header};

use super::pax::Extended;

const BLOCK: u64 = 512;
/// The longest extended header or name.
const MAX_EXTENDED: u64 = 1 << 20;
/// The most entries of one archive. An image of the most layers has a few hundred.
const MAX_ENTRIES: usize = 1 << 17;

/// A tar being read.
pub(super) struct Tape<R> {
    stream: R,
    /// Bytes of the current entry that were not read yet.
    left: u64,
    /// Bytes behind the current entry up to the next block.
    padding: u64,
    entries: usize,
}

/// What an entry is, as far as archives of images have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// Leads to this name in the archive.
    Link(String),
    /// A folder, or what images have no use for.
    Other,
}

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name, without `.` components and slashes at its ends.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) kind: Kind,
}

impl<R: Read> Tape<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, left: 0, padding: 0, entries: 0 }
    }

    /// Moves on to the next entry.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::invalid(format_args!(
                    "archive has more than {MAX_ENTRIES} entries"
                )));
            }
            let size = header.entry_size().map_err(|error| malformed(&error))?;
            self.enter(size)?;
            match header.entry_type() {
                EntryType::XHeader => extended = Extended::parse(&self.whole()?)?,
                EntryType::GNULongName => extended.path = Some(self.text()?),
                EntryType::GNULongLink => extended.link = Some(self.text()?),
                EntryType::XGlobalHeader => {}
                kind => return self.entry(&header, kind, extended).map(Some),
            }
        }
    }

    /// Reads from the current entry up to its end; never fewer bytes than fit unless it ends.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        self.stream.read_exact(buffer).map_err(|error| broken(&error))?;
        self.left -= length as u64;
        Ok(length)
    }

    /// Reads the rest of the current entry.
    ///
    /// # Errors
    /// `InvalidArgument` when it has more than `limit` bytes.
    pub(super) fn read_all(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(Error::invalid(format_args!(
                "{name} in the archive has {} bytes, more than the {limit} that are read",
                self.left
            )));
        }
        let mut data = vec![0; usize::try_from(self.left).unwrap_or_default()];
        self.read(&mut data)?;
        Ok(data)
    }

    /// Reads what follows the archive's end, so that whoever writes the stream is not cut off.
    pub(super) fn drain(mut self) {
        // Tar pads to its record size; more than that is not waited for.
        let _ = io::copy(&mut self.stream.by_ref().take(1 << 20), &mut io::sink());
    }

    fn entry(&mut self, header: &Header, kind: EntryType, extended: Extended) -> Result<Entry> {
        if extended.sparse || kind == EntryType::GNUSparse {
            return Err(Error::invalid("archive has a sparse entry"));
        }
        if let Some(size) = extended.size {
            self.enter(size)?;
        }
        let plain =
            |bytes: std::borrow::Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
        let name = extended.path.unwrap_or_else(|| plain(header.path_bytes()));
        let name = clean(&name)?;
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink => {
                let link = extended.link.or_else(|| header.link_name_bytes().map(plain));
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                Kind::Link(join(folder, &link.unwrap_or_default())?)
            }
            EntryType::Link => {
                let link = extended.link.or_else(|| header.link_name_bytes().map(plain));
                Kind::Link(clean(&link.unwrap_or_default())?)
            }
            _ => Kind::Other,
        };
        Ok(Entry { name, size: self.left, kind })
    }

    fn enter(&mut self, size: u64) -> Result<()> {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        if size > i64::MAX as u64 {
            return Err(Error::invalid(format_args!("archive has an entry of {size} bytes")));
        }
        Ok(())
    }

    /// Reads a header; none at the end, whether the end is marked or not.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.stream.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The sum of all bytes, those of the checksum itself taken for spaces.
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|&byte| u32::from(byte)).sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(Error::invalid(if self.entries == 0 {
                "unrecognized image format: not a tar archive"
            } else {
                "archive is malformed: a header's checksum is wrong"
            }));
        }
        Ok(Some(header))
    }

    fn whole(&mut self) -> Result<Vec<u8>> {
        self.read_all("an extended header", MAX_EXTENDED)
    }

    fn text(&mut self) -> Result<String> {
        let data = self.whole()?;
        let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
        Ok(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        let skipped = io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())
            .map_err(|error| broken(&error))?;
        // Some writers leave out the padding of the last entry.
        if skipped < self.left { Err(truncated()) } else { Ok(()) }
    }
}

/// Returns a name without what means nothing in it.
///
/// # Errors
/// `InvalidArgument` when it leads outside the archive.
fn clean(name: &str) -> Result<String> {
    if name.starts_with('/') {
        return Err(outside(name));
    }
    join("", name)
}

fn join(folder: &str, name: &str) -> Result<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| outside(name))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn outside(name: &str) -> Error {
    let shown: String = name.chars().take(256).collect();
    Error::invalid(format_args!("archive has a name that leads outside it: {shown:?}"))
}

fn truncated() -> Error {
    Error::invalid("archive is truncated: unexpected EOF")
}

fn malformed(error: &io::Error) -> Error {
    Error::invalid(format_args!("archive is malformed: {error}"))
}

/// Says what a failed read means: mostly that the archive is damaged.
fn broken(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => malformed(error),
        // How the zstd library reports damage.
        io::ErrorKind::Other => malformed(error),
        _ => Error::io("read archive", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::ErrorKind;

    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, data) in entries {
            let mut header = Header::new_ustar();
            header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(data.len() as u64);
            header.set_cksum();
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out
    }

    fn names(data: &[u8]) -> Result<Vec<String>> {
        let mut tape = Tape::new(data);
        let mut names = Vec::new();
        while let Some(entry) = tape.next()? {
            names.push(entry.name);
        }
        Ok(names)
    }

    #[test]
    fn reads_names_short_and_long() {
        let long = "n".repeat(300);
        let pax = format!("310 path={long}\n");
        let data = archive(&[
            ("./a//b", EntryType::Regular, b"ab"),
            ("x", EntryType::XHeader, pax.as_bytes()),
            ("short", EntryType::Regular, b""),
            ("@LongLink", EntryType::GNULongName, format!("{long}\0").as_bytes()),
            ("short", EntryType::Regular, b"z"),
        ]);
        assert_eq!(names(&data).unwrap(), ["a/b", &long, &long]);
    }

    #[test]
    fn refuses_what_is_damaged_or_leads_outside() {
        let good = archive(&[("a", EntryType::Regular, &[7; 600])]);
        let mut flipped = good.clone();
        flipped[3] ^= 1;
        let cases = [
            good[..700].to_vec(),
            good[..300].to_vec(),
            flipped,
            b"not an archive at all".repeat(100),
            archive(&[("../a", EntryType::Regular, b"")]),
            archive(&[("/a", EntryType::Regular, b"")]),
            archive(&[("a/../../b", EntryType::Regular, b"")]),
            archive(&[("a", EntryType::GNUSparse, b"")]),
            archive(&[("a", EntryType::XHeader, b"99 size=1\n")]),
        ];
        for case in cases {
            let error = names(&case).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }

    #[test]
    fn a_name_without_end_is_not_read() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = io::Read::chain(&header.as_bytes()[..], io::repeat(b'a'));
        let error = Tape::new(endless).next().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
