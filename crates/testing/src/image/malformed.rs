//! Layers that no honest tool would write, each with what a reader must do about it.

use super::entry::{Entry, Kind, finish};
use super::{Compression, Layer, PackedLayer};

/// What may happen when a malformed layer is applied. Nothing outside the target may ever change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The layer must be refused.
    Refused,
    /// The layer may be refused, or applied with every name kept inside the target.
    Contained,
}

/// A malformed layer.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is wrong with it, in a few words.
    pub name: &'static str,
    /// The blob and its diff id, plain and uncompressed unless compression is the point.
    pub layer: PackedLayer,
    /// What must happen.
    pub verdict: Verdict,
}

/// The name that escapes try to create outside the target.
pub const ESCAPED: &str = "escaped-from-the-layer";

/// Returns layers whose names or links point outside the target.
pub fn escapes() -> Vec<Case> {
    let file = |name: &str| Entry::new(name, Kind::File(b"out".to_vec()));
    let link = |name: &str, to: &str| Entry::new(name, Kind::Symlink(to.to_owned()));
    let hard = |name: &str, to: &str| Entry::new(name, Kind::HardLink(to.to_owned()));
    let up = format!("../{ESCAPED}");
    let far = format!("a/../../../{ESCAPED}");
    let absolute = format!("/tmp/{ESCAPED}");
    let cases: Vec<(&'static str, Vec<Entry>, Verdict)> = vec![
        ("parent directory", vec![file(&up)], Verdict::Contained),
        ("parent directory in the middle", vec![file(&far)], Verdict::Contained),
        ("absolute name", vec![file(&absolute)], Verdict::Contained),
        (
            "file through a symlink to the parent",
            vec![link("d", ".."), file(&format!("d/{ESCAPED}"))],
            Verdict::Contained,
        ),
        (
            "file through an absolute symlink",
            vec![link("d", "/tmp"), file(&format!("d/{ESCAPED}"))],
            Verdict::Contained,
        ),
        (
            "file through a chain of symlinks",
            vec![link("a", "b"), link("b", "../.."), file(&format!("a/{ESCAPED}"))],
            Verdict::Contained,
        ),
        (
            "directory through a symlink",
            vec![link("d", "/tmp"), Entry::new(format!("d/{ESCAPED}"), Kind::Directory)],
            Verdict::Contained,
        ),
        ("hard link to the parent", vec![hard("h", "../../etc/passwd")], Verdict::Refused),
        ("hard link to an absolute name", vec![hard("h", "/etc/passwd-")], Verdict::Contained),
        (
            "hard link through a symlink",
            vec![link("d", "/etc"), hard("h", "d/hostname")],
            Verdict::Contained,
        ),
        (
            "overwriting through a hard link to a symlink",
            vec![link("l", &absolute), hard("h", "l"), file("h")],
            Verdict::Contained,
        ),
        ("whiteout of the parent", vec![file(&format!(".wh.{}", ".."))], Verdict::Contained),
        ("whiteout of nothing", vec![file("a/.wh.")], Verdict::Contained),
        (
            "whiteout through a symlink",
            vec![link("d", "/tmp"), file("d/.wh.stowd-whiteout-victim")],
            Verdict::Contained,
        ),
        (
            "device through a symlink",
            vec![link("d", "/tmp"), Entry::new(format!("d/{ESCAPED}"), Kind::CharDevice(1, 3))],
            Verdict::Contained,
        ),
    ];
    cases.into_iter().map(|(name, entries, verdict)| case(name, &entries, verdict)).collect()
}

/// Returns layers that end too early, lie about sizes, or are no archives.
pub fn broken() -> Vec<Case> {
    let honest = Layer::new().directory("a").file("a/b", vec![7; 4096]).file("a/c", "end");
    let tar = honest.tar();
    let mut cases = vec![
        raw("truncated in a file", tar[..2000].to_vec(), Verdict::Refused),
        raw("truncated in a header", tar[..700].to_vec(), Verdict::Refused),
        raw("not an archive", vec![b'?'; 4096], Verdict::Refused),
        case(
            "size beyond the end",
            &[Entry::new("big", Kind::File(b"x".to_vec())).claiming(1 << 40)],
            Verdict::Refused,
        ),
        raw("bad checksum", with_byte(&tar, 0, b'z'), Verdict::Refused),
    ];
    let gzip = Compression::Gzip.compress(&tar);
    cases.push(Case {
        name: "gzip truncated",
        layer: packed(&tar, Compression::Gzip, gzip[..gzip.len() / 2].to_vec()),
        verdict: Verdict::Refused,
    });
    let last = gzip.len() - 6;
    let wrong = gzip[last] ^ 0xff;
    cases.push(Case {
        name: "gzip with a wrong checksum",
        layer: packed(&tar, Compression::Gzip, with_byte(&gzip, last, wrong)),
        verdict: Verdict::Refused,
    });
    let zstd = Compression::Zstd.compress(&tar);
    cases.push(Case {
        name: "zstd truncated",
        layer: packed(&tar, Compression::Zstd, zstd[..zstd.len() / 2].to_vec()),
        verdict: Verdict::Refused,
    });
    cases
}

/// Returns layers that are small to send and large to keep, up to `megabytes` each.
///
/// They are to be applied with little memory: size on disk is the disk's business, memory is ours.
pub fn bombs(megabytes: usize) -> Vec<Case> {
    let zeros = vec![0; megabytes << 20];
    let layer = Layer::new().file("zeros", &zeros);
    let mut deep = String::from("d");
    for _ in 0..400 {
        deep.push_str("/d");
    }
    let many = (0..1000).fold(Layer::new(), |layer, number| {
        layer.entry(Entry::new("same", Kind::File(format!("{number}").into_bytes())))
    });
    let attribute = vec![b'x'; 1 << 20];
    vec![
        Case {
            name: "gzip of zeros",
            layer: layer.pack(Compression::Gzip),
            verdict: Verdict::Contained,
        },
        Case {
            name: "zstd of zeros",
            layer: layer.pack(Compression::Zstd),
            verdict: Verdict::Contained,
        },
        Case {
            name: "one name a thousand times",
            layer: many.pack(Compression::Gzip),
            verdict: Verdict::Contained,
        },
        case("four hundred folders deep", &[Entry::new(deep, Kind::Directory)], Verdict::Contained),
        case(
            "an attribute of a megabyte",
            &[Entry::new("f", Kind::File(Vec::new())).xattr("user.big", &attribute)],
            Verdict::Contained,
        ),
    ]
}

fn case(name: &'static str, entries: &[Entry], verdict: Verdict) -> Case {
    let mut tar = Vec::new();
    for entry in entries {
        entry.write(&mut tar);
    }
    finish(&mut tar);
    raw(name, tar, verdict)
}

fn raw(name: &'static str, tar: Vec<u8>, verdict: Verdict) -> Case {
    Case { name, layer: super::layer::pack(&tar, Compression::Plain), verdict }
}

fn packed(tar: &[u8], compression: Compression, data: Vec<u8>) -> PackedLayer {
    PackedLayer {
        blob: super::Blob::new(compression.media_type(), data),
        diff_id: stowd_core::Digest::of(tar),
    }
}

fn with_byte(data: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut data = data.to_vec();
    data[at] = byte;
    data
}
