//! A layer, described entry by entry.

use std::io::Write as _;

use flate2::write::GzEncoder;
use stowd_core::Digest;
use stowd_core::descriptor::media_type;

use super::entry::{Entry, Kind, finish};
use super::{Blob, PackedLayer, applets, busybox_program};

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstd];

    /// Returns the OCI media type of a layer compressed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => media_type::LAYER,
            Self::Gzip => media_type::LAYER_GZIP,
            Self::Zstd => media_type::LAYER_ZSTD,
        }
    }

    /// Compresses data.
    ///
    /// # Panics
    /// Never: memory is written to.
    pub fn compress(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => data.to_vec(),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).expect("writing to memory");
                encoder.finish().expect("writing to memory")
            }
            Self::Zstd => zstd::encode_all(data, 1).expect("writing to memory"),
        }
    }
}

/// A layer's entries in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    entries: Vec<Entry>,
}

impl Layer {
    /// Makes an empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the layer with busybox under its usual names.
    pub fn busybox() -> Self {
        let mut layer = Self::new();
        for name in ["bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "var"] {
            layer = layer.directory(name);
        }
        layer = layer
            .entry(Entry::new("tmp", Kind::Directory).mode(0o1777))
            .entry(Entry::new("bin/busybox", Kind::File(busybox_program())).mode(0o755))
            .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbosun:x:1000:1000::/:/bin/sh\n")
            .file("etc/group", "root:x:0:\nbosun:x:1000:\ncrew:x:2000:bosun\n");
        for name in applets() {
            layer = layer.symlink(&format!("bin/{name}"), "busybox");
        }
        layer
    }

    /// Adds an entry as it is.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, data: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::new(name, Kind::File(data.as_ref().to_vec())))
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(Entry::new(name, Kind::Directory))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry::new(name, Kind::Symlink(target.to_owned())))
    }

    /// Adds a hard link to an earlier entry.
    #[must_use]
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(Entry::new(name, Kind::HardLink(target.to_owned())))
    }

    /// Adds what removes a file or folder of the layers below.
    #[must_use]
    pub fn whiteout(self, name: &str) -> Self {
        let (folder, file) = name.rsplit_once('/').map_or(("", name), |(a, b)| (a, b));
        let slash = if folder.is_empty() { "" } else { "/" };
        self.file(&format!("{folder}{slash}.wh.{file}"), "")
    }

    /// Adds a folder that hides what the layers below have in it.
    #[must_use]
    pub fn opaque(self, name: &str) -> Self {
        self.directory(name).file(&format!("{name}/.wh..wh..opq"), "")
    }

    /// Returns the tar.
    pub fn tar(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for entry in &self.entries {
            entry.write(&mut archive);
        }
        finish(&mut archive);
        archive
    }

    /// Returns the layer as an image holds it.
    pub fn pack(&self, compression: Compression) -> PackedLayer {
        pack(&self.tar(), compression)
    }
}

/// Returns a tar as an image holds it.
pub(super) fn pack(tar: &[u8], compression: Compression) -> PackedLayer {
    PackedLayer {
        blob: Blob::new(compression.media_type(), compression.compress(tar)),
        diff_id: Digest::of(tar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Run;

    #[test]
    fn tar_reads_what_is_written() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(200));
        let pieces = vec![(0, vec![1; 512]), (1 << 20, vec![2])];
        let layer = Layer::new()
            .directory("a")
            .file("a/b", "hello")
            .hard_link("a/c", "a/b")
            .symlink("a/d", "b")
            .file(&long, "deep")
            .entry(Entry::new("hole", Kind::Sparse(pieces.clone(), 1 << 21)))
            .entry(Entry::new("old-hole", Kind::OldSparse(pieces, 1 << 21)))
            .whiteout("a/gone")
            .opaque("shut");
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        std::fs::write(&archive, layer.tar()).unwrap();
        let listed = Run::program("tar").args(["-tf".as_ref(), archive.as_os_str()]).ok();
        let expected = format!(
            "a/\na/b\na/c\na/d\n{long}\nhole\nold-hole\na/.wh.gone\nshut/\nshut/.wh..wh..opq\n"
        );
        assert_eq!(listed, expected);
        let run = Run::program("tar").args(["-C".as_ref(), folder.path().as_os_str()]);
        run.args(["-xf".as_ref(), archive.as_os_str()]).ok();
        for name in ["hole", "old-hole"] {
            let data = std::fs::read(folder.path().join(name)).unwrap();
            assert_eq!((data.len(), data[0], data[512], data[1 << 20]), (1 << 21, 1, 0, 2));
        }
        assert_eq!(std::fs::read(folder.path().join(&long)).unwrap(), b"deep");
    }

    #[test]
    fn the_diff_id_is_that_of_the_tar_whatever_the_compression() {
        let layer = Layer::new().file("a", "b");
        let ids: Vec<Digest> = Compression::ALL.iter().map(|it| layer.pack(*it).diff_id).collect();
        assert!(ids.iter().all(|id| *id == Digest::of(&layer.tar())));
    }
}
