//! Writing an archive.

use stowd_core::{Error, Result};

use super::{BLOCK, Entry, Kind, Output, Time, pax};

/// An archive being written. After [`start`](Self::start) with a file, its body is put into what
/// [`room`](Self::room) returns.
pub(crate) struct Archive<O> {
    output: O,
    /// Bytes of the current body that were not written yet.
    left: u64,
    /// Bytes between the body's end and the next header.
    padding: u64,
}

/// A header block being filled.
struct Header([u8; BLOCK]);

/// The largest number that eleven octal digits hold: of sizes and times.
const MOST_OF_ELEVEN: u64 = 0o77_777_777_777;

/// The largest number that seven octal digits hold: of owners, groups and devices.
const MOST_OF_SEVEN: u64 = 0o7_777_777;

/// The longest name and the longest link target that a header holds.
const NAME: usize = 100;

impl<O: Output> Archive<O> {
    pub(crate) fn new(output: O) -> Self {
        Self { output, left: 0, padding: 0 }
    }

    /// Begins an entry. Files are followed by as many bytes as the entry says; everything else has no
    /// body, whatever its size.
    pub(crate) fn start(&mut self, entry: &Entry) -> Result<()> {
        self.end_body()?;
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let records = records(entry, size)?;
        if !records.is_empty() {
            let length = records.len() as u64;
            self.put(&extended(entry, length))?;
            self.put(&records)?;
            self.zeros(padding(length))?;
        }
        self.put(&header(entry, size)?)?;
        self.left = size;
        self.padding = padding(size);
        Ok(())
    }

    /// Returns room for some of the current body, at least one byte; nothing when it is complete.
    pub(crate) fn room(&mut self) -> Result<&mut [u8]> {
        if self.left == 0 {
            return Ok(&mut []);
        }
        let room = self.output.room();
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(room.len());
        Ok(&mut room[..most])
    }

    /// Says that so many bytes of what [`room`](Self::room) returned are filled.
    pub(crate) fn filled(&mut self, count: usize) -> Result<()> {
        self.left = self.left.saturating_sub(count as u64);
        self.output.filled(count)
    }

    /// Ends the archive and returns what it was written to.
    pub(crate) fn finish(mut self) -> Result<O> {
        self.end_body()?;
        self.zeros(2 * BLOCK as u64)?;
        Ok(self.output)
    }

    fn end_body(&mut self) -> Result<()> {
        if self.left > 0 {
            return Err(Error::internal("a tar entry's body was not written to its end"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.zeros(padding)
    }

    fn put(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let room = self.output.room();
            let count = room.len().min(data.len());
            room[..count].copy_from_slice(&data[..count]);
            self.output.filled(count)?;
            data = &data[count..];
        }
        Ok(())
    }

    fn zeros(&mut self, count: u64) -> Result<()> {
        let count = usize::try_from(count).unwrap_or_default();
        self.put(&[0; 2 * BLOCK][..count])
    }
}

impl Header {
    fn new(name: &[u8], flag: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.text(0, &name[..name.len().min(NAME)]);
        header.0[156] = flag;
        header.text(257, b"ustar\x0000");
        header
    }

    fn text(&mut self, at: usize, text: &[u8]) {
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    /// Writes octal digits and a NUL, in a field of that length. What does not fit is told by a record.
    fn number(&mut self, at: usize, length: usize, value: u64) {
        let digits = length - 1;
        let value = if value >> (3 * digits) == 0 { value } else { 0 };
        self.text(at, format!("{value:0digits$o}\0").as_bytes());
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.text(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.text(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

fn header(entry: &Entry, size: u64) -> Result<[u8; BLOCK]> {
    let mut header = Header::new(&entry.name, flag(entry.kind)?);
    header.number(100, 8, u64::from(entry.mode));
    header.number(108, 8, u64::from(entry.uid));
    header.number(116, 8, u64::from(entry.gid));
    header.number(124, 12, size);
    header.number(136, 12, u64::try_from(entry.modified.seconds).unwrap_or(0));
    header.text(157, &entry.link[..entry.link.len().min(NAME)]);
    let (major, minor) = (u64::from(entry.device.0), u64::from(entry.device.1));
    if major.max(minor) > MOST_OF_SEVEN {
        return Err(Error::invalid(format_args!(
            "device {major}:{minor} does not fit into a tar header"
        )));
    }
    header.number(329, 8, major);
    header.number(337, 8, minor);
    Ok(header.sealed())
}

/// The header of the records before an entry. Readers that do not know them make a file of its name.
fn extended(entry: &Entry, length: u64) -> [u8; BLOCK] {
    let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut header = Header::new(&[b"PaxHeaders/", base].concat(), b'x');
    header.number(100, 8, 0o644);
    header.number(108, 8, 0);
    header.number(116, 8, 0);
    header.number(124, 12, length);
    header.number(136, 12, 0);
    header.sealed()
}

fn flag(kind: Kind) -> Result<u8> {
    Ok(match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Unknown(flag) => {
            return Err(Error::internal(format_args!("write a tar entry of type {flag}")));
        }
    })
}

/// Returns the records for what the header cannot hold, in the order of their keys.
fn records(entry: &Entry, size: u64) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.sort();
    for (key, value) in xattrs {
        if key.is_empty() || key.iter().any(|byte| matches!(byte, b'=' | 0)) {
            let shown = String::from_utf8_lossy(key);
            return Err(Error::invalid(format_args!(
                "attribute {shown:?} does not fit into a tar"
            )));
        }
        pax::write(&mut records, &[pax::XATTR, key].concat(), value);
    }
    let mut number = |key: &[u8], value: u64, most: u64| {
        if value > most {
            pax::write(&mut records, key, value.to_string().as_bytes());
        }
    };
    number(b"gid", u64::from(entry.gid), MOST_OF_SEVEN);
    number(b"size", size, MOST_OF_ELEVEN);
    number(b"uid", u64::from(entry.uid), MOST_OF_SEVEN);
    if !is_plain(&entry.link) {
        pax::write(&mut records, b"linkpath", &entry.link);
    }
    let Time { seconds, nanoseconds } = entry.modified;
    if nanoseconds != 0 || u64::try_from(seconds).is_err() || seconds as u64 > MOST_OF_ELEVEN {
        pax::write(&mut records, b"mtime", pax::show_time(entry.modified).as_bytes());
    }
    if !is_plain(&entry.name) {
        pax::write(&mut records, b"path", &entry.name);
    }
    Ok(records)
}

/// Says whether every reader takes a name from the header as it is meant.
fn is_plain(name: &[u8]) -> bool {
    name.len() <= NAME && name.is_ascii()
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
