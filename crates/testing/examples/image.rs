//! Makes the images that scripts and benchmarks use, without a network and without another program.
//!
//!     image archive FILE NAME [LAYER...]      writes an OCI archive
//!     image push HOST:PORT/NAME:TAG [LAYER...]  stores the same image in a registry, by plain HTTP
//!
//! A LAYER is a tar or a tar.gz; without any, the image is busybox under its usual names.

#![allow(
    clippy::expect_used,
    reason = "what cannot be made is reported by panicking, as in a test"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::ToSocketAddrs as _;
use std::path::Path;
use std::process::ExitCode;

use stowd_core::Digest;
use stowd_testing::image::{Blob, Compression, Image, PackedLayer};
use stowd_testing::registry;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["archive", file, name, layers @ ..] => {
            image(layers).write_oci_archive(Path::new(file), name);
        }
        ["push", reference, layers @ ..] => push(reference, &image(layers)),
        _ => {
            let usage =
                "usage: image archive FILE NAME [LAYER...] | push HOST:PORT/NAME:TAG [LAYER...]\n";
            // Nothing is left to report a failing standard error to.
            let _ = std::io::stderr().write_all(usage.as_bytes());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn image(layers: &[&str]) -> Image {
    if layers.is_empty() {
        return Image::busybox();
    }
    // Reading, inflating and hashing a big layer takes a while; they do not depend on each other.
    let packed = std::thread::scope(|scope| {
        let reading: Vec<_> =
            layers.iter().map(|path| scope.spawn(move || layer(Path::new(path)))).collect();
        reading.into_iter().map(|thread| thread.join().expect("a layer")).collect()
    });
    Image::packed(packed)
}

fn layer(path: &Path) -> PackedLayer {
    let data = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (compression, diff_id) = if data.starts_with(&[0x1f, 0x8b]) {
        let mut tar = Vec::new();
        flate2::read::MultiGzDecoder::new(data.as_slice())
            .read_to_end(&mut tar)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (Compression::Gzip, Digest::of(&tar))
    } else {
        (Compression::Plain, Digest::of(&data))
    };
    PackedLayer { blob: Blob::new(compression.media_type(), data), diff_id }
}

fn push(reference: &str, image: &Image) {
    let (host, rest) = reference.split_once('/').expect("a reference begins with HOST:PORT/");
    let (name, tag) = rest.rsplit_once(':').expect("a reference ends with :TAG");
    let address = host.to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.unwrap_or_else(|| panic!("{host} is no address"));
    registry::push(address, name, tag, image);
}
