//! Reading an archive.

use stowd_core::{Error, Result};

use super::header::Header;
use super::pax::{self, Records};
use super::sparse::{self, Sparse};
use super::{BLOCK, Entry, Input, Kind, LIMIT, Time, as_u32, malformed, until_nul};

/// An archive being read. After [`next`](Self::next) gave an entry, [`body`](Self::body) gives what
/// is stored of it; what is not read is passed over.
pub(crate) struct Archive<I> {
    input: I,
    /// Bytes of the current body that were not read yet.
    left: u64,
    /// Bytes between the body's end and the next header.
    padding: u64,
    ended: bool,
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extended {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    any: bool,
}

impl<I: Input> Archive<I> {
    pub(crate) fn new(input: I) -> Self {
        Self { input, left: 0, padding: 0, ended: false }
    }

    /// Returns the next entry; none at the end. What follows the end is not looked at.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            let left = std::mem::take(&mut self.left);
            self.pass(left)?;
            let padding = std::mem::take(&mut self.padding);
            // Some writers leave the last padding out.
            self.pass_if_there(padding)?;
            let Some(block) = self.header()? else {
                return if extended.any { Err(truncated()) } else { Ok(None) };
            };
            let header = Header::new(&block)?;
            match header.flag() {
                b'x' | b'X' => {
                    extended.records = Records::parse(&self.special(&header)?)?;
                    extended.any = true;
                }
                b'L' => {
                    extended.name = Some(until_nul(&self.special(&header)?).to_vec());
                    extended.any = true;
                }
                b'K' => {
                    extended.link = Some(until_nul(&self.special(&header)?).to_vec());
                    extended.any = true;
                }
                // Defaults for all that follows; containerd passes them over as well.
                b'g' => self.body_of(header.size()?),
                _ => return self.entry(&header, extended).map(Some),
            }
        }
    }

    /// Returns some of the current body, at least one byte; nothing at its end.
    pub(crate) fn body(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let data = self.input.fill()?;
        if data.is_empty() {
            return Err(truncated());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&data[..data.len().min(most)])
    }

    /// Says that so many bytes of what [`body`](Self::body) returned are used up.
    pub(crate) fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.input.consume(count);
    }

    /// Returns the input, of which everything up to the archive's end is used up.
    pub(crate) fn into_input(self) -> I {
        self.input
    }

    fn entry(&mut self, header: &Header<'_>, extended: Extended) -> Result<Entry> {
        let Extended { records, name, link, .. } = extended;
        let name = name.or(records.path).unwrap_or_else(|| header.name());
        let link = link.or(records.link).unwrap_or_else(|| header.link());
        let kind = kind(header.flag(), &name);
        let mut stored = match records.size {
            Some(size) => size,
            None => header.size()?,
        };
        if matches!(
            kind,
            Kind::HardLink
                | Kind::Symlink
                | Kind::CharDevice
                | Kind::BlockDevice
                | Kind::Directory
                | Kind::Fifo
        ) {
            // Some writers state the size of a link's target; no body follows.
            stored = 0;
        }
        if i64::try_from(stored).is_err() {
            return Err(malformed("size in a tar header is out of range"));
        }
        let device = header.device()?;
        let mut entry = Entry {
            kind,
            name,
            link,
            mode: header.mode()?,
            uid: as_u32(records.uid.map_or_else(|| header.uid(), Ok)?, "owner")?,
            gid: as_u32(records.gid.map_or_else(|| header.gid(), Ok)?, "group")?,
            modified: records.modified.map_or_else(|| header.modified(), Ok)?,
            accessed: records.accessed,
            device: (0, 0),
            size: stored,
            sparse: None,
            xattrs: records.xattrs,
        };
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = (as_u32(device.0, "device")?, as_u32(device.1, "device")?);
        }
        if header.flag() == b'S' {
            let mut pieces = Vec::new();
            sparse::read_old(header.sparse_pieces(), &mut pieces)?;
            let mut more = header.sparse_goes_on();
            while more {
                let block = self.block()?.ok_or_else(truncated)?;
                sparse::read_old(&block[..504], &mut pieces)?;
                more = block[504] != 0;
            }
            entry.sparse = Some(Sparse::new(pieces, header.sparse_length()?, stored)?);
            self.body_of(stored);
            return Ok(entry);
        }
        self.body_of(stored);
        if kind == Kind::File {
            self.sparse_by_pax(&mut entry, records.sparse)?;
        }
        Ok(entry)
    }

    fn sparse_by_pax(&mut self, entry: &mut Entry, records: pax::SparseRecords) -> Result<()> {
        let in_body = (records.major, records.minor) == (Some(1), Some(0));
        if let Some(name) = records.name {
            entry.name = name;
        }
        if in_body {
            let length = records.length.ok_or_else(|| malformed("sparse file without a length"))?;
            let numbers = self.map_in_body()?;
            entry.size = self.left;
            entry.sparse = Some(Sparse::from_numbers(&numbers, length, self.left)?);
        } else if let Some(numbers) = records.map {
            let length = records.length.ok_or_else(|| malformed("sparse file without a length"))?;
            entry.sparse = Some(Sparse::from_numbers(&numbers, length, entry.size)?);
        }
        Ok(())
    }

    /// Reads the map that a body begins with: a count of pieces and then two numbers for each, in
    /// decimal lines, filled up to a whole block.
    fn map_in_body(&mut self) -> Result<Vec<u64>> {
        let start = self.left;
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut line = Vec::new();
        while wanted != Some(numbers.len() as u64) {
            let data = self.body()?;
            let Some(&byte) = data.first() else {
                return Err(malformed("map of a sparse file ends in the middle"));
            };
            self.consume(1);
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 || start - self.left > LIMIT {
                    return Err(malformed("map of a sparse file is too long"));
                }
                continue;
            }
            let number = pax::whole(&line)
                .ok_or_else(|| malformed("invalid number in the map of a sparse file"))?;
            line.clear();
            if wanted.is_none() {
                let count = number.checked_mul(2).filter(|count| *count <= LIMIT);
                wanted = Some(count.ok_or_else(|| malformed("map of a sparse file is too long"))?);
            } else {
                numbers.push(number);
            }
        }
        let read = start - self.left;
        let fill = (read.next_multiple_of(BLOCK as u64) - read).min(self.left);
        self.left -= fill;
        self.pass(fill)?;
        Ok(numbers)
    }

    /// Reads the body of an extended header.
    fn special(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > LIMIT {
            return Err(malformed(format_args!("extended header of {size} bytes")));
        }
        self.body_of(size);
        let mut all = Vec::new();
        loop {
            let data = self.body()?;
            let count = data.len();
            if count == 0 {
                return Ok(all);
            }
            all.extend_from_slice(data);
            self.consume(count);
        }
    }

    fn body_of(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Reads the next header, passing over the two empty blocks that end an archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.ended = true;
            return Ok(None);
        };
        if block[0] != 0 || block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        self.ended = true;
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(malformed("an empty block in the middle"))
            }
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let data = self.input.fill()?;
            if data.is_empty() {
                return if have == 0 { Ok(None) } else { Err(truncated()) };
            }
            let count = data.len().min(BLOCK - have);
            block[have..have + count].copy_from_slice(&data[..count]);
            self.input.consume(count);
            have += count;
        }
        Ok(Some(block))
    }

    fn pass(&mut self, count: u64) -> Result<()> {
        if self.pass_if_there(count)? < count { Err(truncated()) } else { Ok(()) }
    }

    fn pass_if_there(&mut self, count: u64) -> Result<u64> {
        let mut done = 0;
        while done < count {
            let data = self.input.fill()?;
            if data.is_empty() {
                break;
            }
            let some = data.len().min(usize::try_from(count - done).unwrap_or(usize::MAX));
            self.input.consume(some);
            done += some as u64;
        }
        Ok(done)
    }
}

fn kind(flag: u8, name: &[u8]) -> Kind {
    match flag {
        // Before ustar, a directory was told by its name only.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        flag => Kind::Unknown(flag),
    }
}

impl Time {
    /// Returns the time in the range that file systems and containerd keep: not before 1970, and not
    /// beyond what fits into nanoseconds since then; anything else is 1970.
    pub(crate) fn bounded(self) -> Self {
        const MOST: i64 = i64::MAX / 1_000_000_000;
        if (0..MOST).contains(&self.seconds) { self } else { Self::default() }
    }
}

fn truncated() -> Error {
    malformed("it ends in the middle (unexpected EOF)")
}
