//! One entry of a tar archive, written byte by byte (POSIX.1-2001 pax, and GNU's sparse extension).
//!
//! No library: tests must be able to write what a library would refuse to.

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with these bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
    /// A hard link to this entry.
    HardLink(String),
    /// A character device with its numbers.
    CharDevice(u32, u32),
    /// A block device with its numbers.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A file with holes: its pieces by offset, and its whole length (GNU's form 1.0 in pax).
    Sparse(Vec<(u64, Vec<u8>)>, u64),
    /// The same in the form of GNU tar before pax, which containerd does not read.
    OldSparse(Vec<(u64, Vec<u8>)>, u64),
    /// A type flag that no reader knows, with a body.
    Unknown(u8, Vec<u8>),
}

/// One entry: its name, kind and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Nanoseconds of the time of change; written as a pax record when not 0.
    pub nanoseconds: u32,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// A size to claim in the header instead of the true one.
    pub claimed_size: Option<u64>,
}

impl Entry {
    /// Makes an entry with ordinary attributes.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self {
            name: name.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            nanoseconds: 0,
            xattrs: Vec::new(),
            claimed_size: None,
        }
    }

    /// Sets the permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the time of change.
    #[must_use]
    pub fn time(mut self, seconds: u64, nanoseconds: u32) -> Self {
        (self.mtime, self.nanoseconds) = (seconds, nanoseconds);
        self
    }

    /// Adds an extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Claims a size in the header whatever the body's true length.
    #[must_use]
    pub fn claiming(mut self, size: u64) -> Self {
        self.claimed_size = Some(size);
        self
    }

    /// Appends the entry to an archive.
    pub fn write(&self, archive: &mut Vec<u8>) {
        let records = self.pax_records();
        if !records.is_empty() {
            header(archive, "pax", b'x', records.len() as u64, self, "");
            append_body(archive, &records);
        }
        match &self.kind {
            Kind::File(data) => {
                header(archive, &self.name, b'0', self.size_of(data), self, "");
                append_body(archive, data);
            }
            Kind::Directory => {
                let name = format!("{}/", self.name.trim_end_matches('/'));
                header(archive, &name, b'5', 0, self, "");
            }
            Kind::Symlink(target) => header(archive, &self.name, b'2', 0, self, target),
            Kind::HardLink(target) => header(archive, &self.name, b'1', 0, self, target),
            Kind::CharDevice(..) => header(archive, &self.name, b'3', 0, self, ""),
            Kind::BlockDevice(..) => header(archive, &self.name, b'4', 0, self, ""),
            Kind::Fifo => header(archive, &self.name, b'6', 0, self, ""),
            Kind::Sparse(pieces, length) => {
                let body = sparse_body(&with_end(pieces, *length));
                header(archive, &self.name, b'0', body.len() as u64, self, "");
                append_body(archive, &body);
            }
            Kind::OldSparse(pieces, length) => self.write_old_sparse(archive, pieces, *length),
            Kind::Unknown(flag, data) => {
                header(archive, &self.name, *flag, self.size_of(data), self, "");
                append_body(archive, data);
            }
        }
    }

    fn size_of(&self, data: &[u8]) -> u64 {
        self.claimed_size.unwrap_or(data.len() as u64)
    }

    fn pax_records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let directory = usize::from(self.kind == Kind::Directory);
        if self.name.len() + directory > 100 {
            record(&mut records, "path", self.name.as_bytes());
        }
        if let Kind::Symlink(target) | Kind::HardLink(target) = &self.kind
            && target.len() > 100
        {
            record(&mut records, "linkpath", target.as_bytes());
        }
        if let Kind::Sparse(_, length) = self.kind {
            record(&mut records, "GNU.sparse.major", b"1");
            record(&mut records, "GNU.sparse.minor", b"0");
            record(&mut records, "GNU.sparse.name", self.name.as_bytes());
            record(&mut records, "GNU.sparse.realsize", length.to_string().as_bytes());
        }
        if self.nanoseconds != 0 {
            let time = format!("{}.{:09}", self.mtime, self.nanoseconds);
            record(&mut records, "mtime", time.as_bytes());
        }
        for (name, value) in &self.xattrs {
            record(&mut records, &format!("SCHILY.xattr.{name}"), value);
        }
        records
    }

    /// The first four pieces stand in the header, more in blocks after it.
    fn write_old_sparse(&self, archive: &mut Vec<u8>, pieces: &[(u64, Vec<u8>)], length: u64) {
        let pieces = with_end(pieces, length);
        let stored: usize = pieces.iter().map(|(_, data)| data.len()).sum();
        let start = archive.len();
        header(archive, &self.name, b'S', stored as u64, self, "");
        let block = &mut archive[start..start + 512];
        block[257..265].copy_from_slice(b"ustar  \0");
        block[345..500].fill(0);
        for (index, (offset, data)) in pieces.iter().take(4).enumerate() {
            let at = 386 + index * 24;
            octal(&mut block[at..at + 12], *offset);
            octal(&mut block[at + 12..at + 24], data.len() as u64);
        }
        block[482] = u8::from(pieces.len() > 4);
        octal(&mut block[483..495], length);
        sign(block);
        let mut rest = pieces.get(4..).unwrap_or_default();
        while !rest.is_empty() {
            let mut block = [0; 512];
            let (now, later) = rest.split_at(rest.len().min(21));
            for (index, (offset, data)) in now.iter().enumerate() {
                let at = index * 24;
                octal(&mut block[at..at + 12], *offset);
                octal(&mut block[at + 12..at + 24], data.len() as u64);
            }
            block[504] = u8::from(!later.is_empty());
            archive.extend_from_slice(&block);
            rest = later;
        }
        let body: Vec<u8> = pieces.iter().flat_map(|(_, data)| data.iter().copied()).collect();
        append_body(archive, &body);
    }
}

/// A hole at the end is told by an empty piece where the file ends.
fn with_end(pieces: &[(u64, Vec<u8>)], length: u64) -> Vec<(u64, Vec<u8>)> {
    let mut pieces = pieces.to_vec();
    if pieces.last().is_none_or(|(offset, data)| offset + (data.len() as u64) < length) {
        pieces.push((length, Vec::new()));
    }
    pieces
}

/// The map of the pieces in decimal lines, filled up to a block, and then the pieces.
fn sparse_body(pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut body = format!("{}\n", pieces.len()).into_bytes();
    for (offset, data) in pieces {
        body.extend_from_slice(format!("{offset}\n{}\n", data.len()).as_bytes());
    }
    body.resize(body.len().next_multiple_of(512), 0);
    for (_, data) in pieces {
        body.extend_from_slice(data);
    }
    body
}

/// Ends an archive.
pub fn finish(archive: &mut Vec<u8>) {
    archive.extend_from_slice(&[0; 1024]);
}

fn header(archive: &mut Vec<u8>, name: &str, flag: u8, size: u64, entry: &Entry, target: &str) {
    let mut block = [0_u8; 512];
    put(&mut block[0..100], name.as_bytes());
    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    octal(&mut block[108..116], u64::from(entry.uid));
    octal(&mut block[116..124], u64::from(entry.gid));
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], entry.mtime);
    block[156] = flag;
    put(&mut block[157..257], target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    if let Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind {
        octal(&mut block[329..337], u64::from(major));
        octal(&mut block[337..345], u64::from(minor));
    }
    sign(&mut block);
    archive.extend_from_slice(&block);
}

fn append_body(archive: &mut Vec<u8>, data: &[u8]) {
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// Octal digits with a closing NUL; GNU's base-256 form where they do not fit.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    if text.len() <= digits {
        put(field, text.as_bytes());
    } else {
        let at = field.len() - 8;
        field.fill(0);
        field[at..].copy_from_slice(&value.to_be_bytes());
        field[0] |= 0x80;
    }
}

fn sign(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
}

/// A pax record starts with its own length, which counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest > length {
        length += 1;
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        let mut records = Vec::new();
        record(&mut records, "mtime", b"1.5");
        assert_eq!(records, b"13 mtime=1.5\n");
        let mut long = Vec::new();
        record(&mut long, "path", &[b'a'; 91]);
        assert_eq!(long.len(), 101);
        assert!(long.starts_with(b"101 path="));
    }

    #[test]
    fn entries_fill_whole_blocks() {
        for kind in [
            Kind::File(vec![1; 513]),
            Kind::Directory,
            Kind::Symlink("t".repeat(200)),
            Kind::Sparse((0..9).map(|at| (at * 8192, vec![1; 10])).collect(), 100_000),
            Kind::OldSparse((0..9).map(|at| (at * 8192, vec![1; 10])).collect(), 100_000),
        ] {
            let mut archive = Vec::new();
            Entry::new("n".repeat(150), kind).xattr("user.a", b"b").write(&mut archive);
            assert_eq!(archive.len() % 512, 0);
        }
    }
}
