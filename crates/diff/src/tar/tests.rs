//! Archives by other hands, archives that lie, and our own read back.

use std::io::Write as _;
use std::process::{Command, Stdio};

use stowd_core::{Error, ErrorKind, Result};
use stowd_testing::image::entry::{self, Entry as Fixture, Kind as FixtureKind, finish};

use super::read::Archive as Reader;
use super::write::Archive as Writer;
use super::*;

/// Bytes that come in pieces of one length, as from a channel.
struct Pieces<'a> {
    data: &'a [u8],
    piece: usize,
}

impl Input for Pieces<'_> {
    fn fill(&mut self) -> Result<&[u8]> {
        Ok(&self.data[..self.data.len().min(self.piece)])
    }

    fn consume(&mut self, count: usize) {
        self.data = &self.data[count..];
    }
}

/// Memory that gives little room at a time.
struct Memory {
    data: Vec<u8>,
    room: [u8; 77],
}

impl Output for Memory {
    fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn filled(&mut self, count: usize) -> Result<()> {
        self.data.extend_from_slice(&self.room[..count]);
        Ok(())
    }
}

fn read_in(data: &[u8], piece: usize) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Reader::new(Pieces { data, piece });
    let mut all = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut body = Vec::new();
        loop {
            let some = archive.body()?.to_vec();
            if some.is_empty() {
                break;
            }
            archive.consume(some.len());
            body.extend(some);
        }
        all.push((entry, body));
    }
    Ok(all)
}

/// Reads an archive in pieces of several lengths, which must not matter.
fn read(data: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let whole = read_in(data, usize::MAX);
    for piece in [1, 511, 513] {
        match (&whole, read_in(data, piece)) {
            (Ok(one), Ok(other)) => assert_eq!(*one, other),
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            (one, other) => panic!("in pieces of {piece}: {other:?} instead of {one:?}"),
        }
    }
    whole
}

fn refused(data: &[u8]) -> Error {
    let error = read(data).expect_err("a malformed archive was read");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    error
}

fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Writer::new(Memory { data: Vec::new(), room: [0; 77] });
    for (entry, body) in entries {
        archive.start(entry).unwrap();
        let mut rest = &body[..];
        loop {
            let room = archive.room().unwrap();
            let count = room.len();
            if count == 0 {
                break;
            }
            room.copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            archive.filled(count).unwrap();
        }
        assert!(rest.is_empty());
    }
    archive.finish().unwrap().data
}

fn plain(kind: Kind, name: &str) -> Entry {
    Entry {
        kind,
        name: name.as_bytes().to_vec(),
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: Time { seconds: 1_700_000_000, nanoseconds: 0 },
        accessed: None,
        device: (0, 0),
        size: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

/// One of everything, in every form that a header cannot hold.
fn one_of_each() -> Vec<(Entry, Vec<u8>)> {
    let file = |name: &str, body: &[u8]| {
        let mut entry = plain(Kind::File, name);
        entry.size = body.len() as u64;
        (entry, body.to_vec())
    };
    let none = |entry| (entry, Vec::new());
    let mut link = plain(Kind::Symlink, "link");
    link.link = b"a target ".repeat(30);
    let mut hard = plain(Kind::HardLink, "hard");
    hard.link = "schön/größer".as_bytes().to_vec();
    let mut device = plain(Kind::CharDevice, "device");
    device.device = (4095, 1_048_575);
    let mut disk = plain(Kind::BlockDevice, "disk");
    disk.device = (7, 1);
    let mut folder = plain(Kind::Directory, "folder/");
    folder.mode = 0o1777;
    let mut early = plain(Kind::File, "early");
    early.modified = Time { seconds: -2, nanoseconds: 750_000_000 };
    let mut late = plain(Kind::File, "late");
    late.modified = Time { seconds: 1 << 40, nanoseconds: 0 };
    let mut fine = plain(Kind::File, "fine");
    fine.modified.nanoseconds = 120_000_000;
    let mut foreign = plain(Kind::File, "foreign");
    (foreign.uid, foreign.gid) = (u32::MAX - 1, 1 << 21);
    let mut capable = plain(Kind::File, "capable");
    capable.mode = 0o6755;
    capable.xattrs = vec![
        (b"security.capability".to_vec(), vec![1, 0, b'\n', b'=', 0xff]),
        (b"user.empty".to_vec(), Vec::new()),
    ];
    vec![
        none(folder),
        file("folder/empty", b""),
        file("folder/block", &[7; 512]),
        file("folder/more", &[8; 1025]),
        file("schön/größer", b"x"),
        file(&"a".repeat(100), b"fits"),
        file(&"b".repeat(101), b"does not"),
        file(&"deep/".repeat(500), b"far"),
        none(link),
        none(hard),
        none(device),
        none(disk),
        none(plain(Kind::Fifo, "pipe")),
        none(early),
        none(late),
        none(fine),
        none(foreign),
        none(capable),
    ]
}

#[test]
fn what_is_written_is_read() {
    let entries = one_of_each();
    let archive = written(&entries);
    assert!(archive.len().is_multiple_of(BLOCK));
    assert_eq!(read(&archive).unwrap(), entries);
    assert_eq!(archive, written(&entries), "the same entries make the same bytes");
}

#[test]
fn entries_that_fit_need_no_records() {
    let mut entry = plain(Kind::File, "f");
    (entry.uid, entry.gid) = (0o7_777_777, 1000);
    let archive = written(&[(entry, Vec::new())]);
    assert_eq!(archive.len(), 3 * BLOCK);
    assert_eq!(&archive[257..265], b"ustar\x0000");
    assert_eq!(&archive[265..329], [0; 64], "no names of owners");
}

#[test]
fn big_sizes_are_written() {
    let mut entry = plain(Kind::File, "big");
    entry.size = 1 << 40;
    let mut archive = Writer::new(Memory { data: Vec::new(), room: [0; 77] });
    archive.start(&entry).unwrap();
    assert!(archive.room().unwrap().len() == 77);
    let data = archive.finish().err().expect("the body is missing");
    assert_eq!(data.kind(), ErrorKind::Internal);
    let mut archive = Writer::new(Memory { data: Vec::new(), room: [0; 77] });
    archive.start(&entry).unwrap();
    archive.filled(77).unwrap();
    drop(archive);
}

#[test]
fn unwritable_entries_are_refused() {
    let mut far = plain(Kind::CharDevice, "d");
    far.device = (1 << 21, 0);
    let mut odd = plain(Kind::File, "f");
    odd.xattrs = vec![(b"user.a=b".to_vec(), b"c".to_vec())];
    for entry in [far, odd] {
        let mut archive = Writer::new(Memory { data: Vec::new(), room: [0; 77] });
        assert_eq!(archive.start(&entry).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// GNU tar is everybody's second reader.
#[test]
fn gnu_tar_reads_what_is_written() {
    let archive = written(&one_of_each());
    let mut tar = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--full-time", "--utc", "--xattrs"])
        .args(["--quoting-style=literal", "--warning=no-timestamp", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = tar.stdin.take().unwrap();
    let feed = std::thread::spawn(move || input.write_all(&archive));
    let output = tar.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{complaints}\n{listed}");
    let deep = "deep/".repeat(500);
    for wanted in [
        "drwxrwxrwt  0/0 ",
        "2023-11-14 22:13:20 folder/\n",
        "512 2023-11-14 22:13:20 folder/block\n",
        "schön/größer\n",
        "hard link to schön/größer\n",
        "4095,1048575",
        "brw-r--r--  0/0             7,1 2023-11-14 22:13:20 disk\n",
        "prw-r--r--",
        "2023-11-14 22:13:20.12 fine\n",
        "4294967294/2097152",
        "-rwsr-sr-x",
        &deep,
        &"b".repeat(101),
    ] {
        assert!(listed.contains(wanted), "{wanted:?} is not in\n{listed}");
    }
}

/// Packs files by GNU tar itself.
fn by_gnu_tar(arguments: &[&str], make: impl FnOnce(&std::path::Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let output = Command::new("tar")
        .args(arguments)
        .arg("-C")
        .arg(folder.path())
        .args(["-cf", "-", "."])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn with_holes(path: &std::path::Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(path).unwrap();
    for number in 0..30 {
        file.write_all_at(&[number as u8 + 1; 4096], number << 20).unwrap();
    }
    file.set_len(40 << 20).unwrap();
}

#[test]
fn every_form_of_holes_by_gnu_tar_is_read() {
    for form in [
        &["--format=gnu", "--sparse"][..],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
    ] {
        let archive = by_gnu_tar(form, |folder| {
            with_holes(&folder.join("holes"));
            std::fs::write(folder.join("next"), "after").unwrap();
        });
        let entries = read(&archive).unwrap();
        let (entry, body) =
            entries.iter().find(|(entry, _)| entry.name == b"./holes").expect("the file");
        let sparse = entry.sparse.as_ref().unwrap_or_else(|| panic!("{form:?}: no map"));
        assert_eq!(sparse.length, 40 << 20, "{form:?}");
        let pieces: Vec<_> = sparse.pieces.iter().filter(|piece| piece.length > 0).collect();
        assert_eq!(pieces.len(), 30, "{form:?}");
        for (number, piece) in pieces.iter().enumerate() {
            assert_eq!((piece.offset, piece.length), ((number as u64) << 20, 4096), "{form:?}");
            assert_eq!(body[number * 4096], number as u8 + 1, "{form:?}");
        }
        assert!(entries.iter().any(|(entry, body)| entry.name == b"./next" && body == b"after"));
    }
}

#[test]
fn long_names_by_gnu_tar_are_read() {
    let name = "n".repeat(200);
    for form in ["--format=gnu", "--format=pax", "--format=ustar"] {
        let target = if form == "--format=ustar" { "t" } else { &"t/".repeat(150) };
        // In ustar only the folders before the last slash may be long.
        let (folder, file) = if form == "--format=ustar" {
            (format!("{}/{}", "f".repeat(70), "g".repeat(70)), "x".repeat(90))
        } else {
            ("f".repeat(120), name.clone())
        };
        let archive = by_gnu_tar(&[form], |top| {
            std::fs::create_dir_all(top.join(&folder)).unwrap();
            std::fs::write(top.join(&folder).join(&file), "found").unwrap();
            std::os::unix::fs::symlink(target, top.join("link")).unwrap();
        });
        let entries = read(&archive).unwrap();
        let wanted = format!("./{folder}/{file}");
        let found = entries.iter().find(|(entry, _)| entry.name == wanted.as_bytes());
        assert_eq!(found.unwrap_or_else(|| panic!("{form}")).1, b"found");
        let link = entries.iter().find(|(entry, _)| entry.kind == Kind::Symlink).unwrap();
        assert_eq!(link.0.link, target.as_bytes(), "{form}");
    }
}

fn fixture(entry: &Fixture) -> Vec<u8> {
    let mut archive = Vec::new();
    entry.write(&mut archive);
    finish(&mut archive);
    archive
}

#[test]
fn sizes_in_base_256_are_read() {
    let big = Fixture::new("big", FixtureKind::File(Vec::new())).claiming(1 << 40);
    let archive = fixture(&big);
    let mut reader = Reader::new(Pieces { data: &archive, piece: usize::MAX });
    assert_eq!(reader.next().unwrap().unwrap().size, 1 << 40);
    assert!(refused(&archive).to_string().contains("unexpected EOF"));
}

#[test]
fn archives_cut_anywhere_are_refused() {
    let entry =
        Fixture::new("n".repeat(150), FixtureKind::File(vec![1; 700])).xattr("user.a", b"b");
    let archive = fixture(&entry);
    let end = archive.len() - 1024;
    // The last 324 bytes are padding, which some writers leave out.
    for length in (1..end - 324).step_by(13) {
        let error = refused(&archive[..length]);
        assert!(error.to_string().contains("unexpected EOF"), "{length}: {error}");
    }
    for length in [end - 324, end - 1, end, end + 512, archive.len()] {
        assert_eq!(read(&archive[..length]).unwrap().len(), 1, "{length}");
    }
    assert_eq!(read(b"").unwrap(), []);
}

#[test]
fn a_wrong_byte_in_a_header_is_found() {
    let archive = fixture(&Fixture::new("name", FixtureKind::File(b"x".to_vec())));
    // The last of the checksum's field means nothing.
    for at in (0..BLOCK).filter(|at| *at != 155) {
        let mut broken = archive.clone();
        broken[at] ^= 0x55;
        refused(&broken);
    }
}

#[test]
fn extended_headers_have_a_limit() {
    for flag in [b'x', b'L', b'K'] {
        let most = Fixture::new("l", FixtureKind::Unknown(flag, vec![b'a'; 1 << 20]));
        let more = Fixture::new("l", FixtureKind::Unknown(flag, vec![b'a'; (1 << 20) + 1]));
        assert!(refused(&fixture(&more)).to_string().contains("extended header of 1048577"));
        // As long as it may be, but nothing follows, and no records are in it.
        refused(&fixture(&most));
    }
}

#[test]
fn maps_that_lie_are_refused() {
    let pieces = |pieces: &[(u64, usize)], length| {
        let pieces = pieces.iter().map(|(at, len)| (*at, vec![1; *len])).collect::<Vec<_>>();
        [
            fixture(&Fixture::new("f", FixtureKind::Sparse(pieces.clone(), length))),
            fixture(&Fixture::new("f", FixtureKind::OldSparse(pieces, length))),
        ]
    };
    for archive in pieces(&[(0, 10), (100, 10)], 200) {
        assert_eq!(read(&archive).unwrap()[0].1.len(), 20);
    }
    for lies in [
        pieces(&[(0, 10), (5, 10)], 200),
        pieces(&[(100, 10), (0, 10)], 200),
        pieces(&[(190, 20)], 200),
        pieces(&[(u64::MAX - 20, 10)], u64::MAX),
        pieces(&[(0, 10)], 1 << 63),
    ] {
        lies.iter().for_each(|archive| drop(refused(archive)));
    }
}

#[test]
fn many_pieces_are_read_in_the_old_form() {
    let pieces: Vec<_> = (0..100).map(|at| (at * 8192, vec![at as u8; 100])).collect();
    let old = fixture(&Fixture::new("f", entry::Kind::OldSparse(pieces, 1 << 20)));
    let (entry, body) = read(&old).unwrap().remove(0);
    assert_eq!(entry.sparse.unwrap().pieces.len(), 101);
    assert_eq!(body.len(), 100 * 100);
}

#[test]
fn global_headers_and_what_follows_the_end_are_passed_over() {
    let mut archive = Vec::new();
    Fixture::new("g", FixtureKind::Unknown(b'g', b"13 mtime=1.5\n".to_vec())).write(&mut archive);
    Fixture::new("f", FixtureKind::File(b"x".to_vec())).write(&mut archive);
    finish(&mut archive);
    archive.extend_from_slice(&[b'?'; 700]);
    let entries = read(&archive).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].0.modified.nanoseconds, 0);
    let mut middle = vec![0; BLOCK];
    middle.extend_from_slice(&fixture(&Fixture::new("f", FixtureKind::Directory)));
    refused(&middle);
}
