//! Importing archives of every form, honest or not.

use std::fs::{self, File};

use stowd_core::transfer::{NameRule, Store};
use stowd_core::{Digest, ErrorKind, Platform};
use stowd_testing::image::{Compression, Image, Index, Layer};
use stowd_testing::need;

use crate::bench::{Bench, naming, scope, unpacking};
use crate::pull::image;

const NAME: &str = "docker.io/library/deck:v1";

fn both() -> Store {
    Store { extra_names: naming("import-2026-01-01").extra_names, ..unpacking("") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oci_archives_come_in_compressed_or_not() {
    need!(root, overlayfs);
    let bench = Bench::new().await;
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let plain = fs::read(bench.path("oci.tar")).unwrap();
    for how in Compression::ALL {
        let scope = scope();
        let archive = std::io::Cursor::new(how.compress(&plain));
        bench.import(&scope, archive, both()).await.unwrap();
        assert_eq!(bench.images(&scope).await, [NAME]);
        bench.check(&scope, &image, "overlayfs").await;
        let index = bench.blobs(&scope).await.len();
        assert_eq!(index, image.blobs().len() + 1, "the blobs and index.json");
        // Nothing refers to index.json, since no image is named after it.
        bench.metadata.collect().await.unwrap();
        bench.check_tidy(&scope).await;
        bench.check(&scope, &image, "overlayfs").await;
    }
}

/// Gives bytes as a client's stream does, which waits for them in its own way.
struct Trickle(tokio::sync::mpsc::Receiver<Vec<u8>>);

impl std::io::Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.0.blocking_recv().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_may_trickle_in() {
    need!(root, overlayfs);
    let (bench, scope) = (Bench::new().await, scope());
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let data = fs::read(bench.path("oci.tar")).unwrap();
    let (sender, pieces) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut at = 0;
        while at < data.len() {
            // Never the sizes of tar's blocks, and sometimes less than a compression's mark.
            let end = data.len().min(at + if at == 0 { 3 } else { 1999 });
            sender.send(data[at..end].to_vec()).await.unwrap();
            at = end;
        }
    });
    let stream = std::io::BufReader::with_capacity(4096, Trickle(pieces));
    bench.import(&scope, stream, both()).await.unwrap();
    bench.check(&scope, &image, "overlayfs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_archives_get_manifests() {
    need!(root, overlayfs);
    let (bench, scope) = (Bench::new().await, scope());
    let image = image();
    image.write_docker_archive(&bench.path("docker.tar"), "deck:v1");
    let archive = File::open(bench.path("docker.tar")).unwrap();
    let store = Store { name: "all".to_owned(), ..both() };
    bench.import(&scope, archive, store).await.unwrap();
    assert_eq!(bench.images(&scope).await, ["all", NAME]);
    let record = bench.metadata.images().get(&scope, NAME).await.unwrap();
    let host = [Platform::host()];
    let matcher = stowd_core::platform::Matcher::any_of(&host);
    let content = bench.metadata.content();
    let (_, manifest) =
        stowd_images::graph::manifest(&*content, &scope, &record.target, &matcher).await.unwrap();
    let types: Vec<&str> = manifest.layers.iter().map(|it| it.media_type.as_str()).collect();
    assert_eq!(
        types,
        [
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
        ]
    );
    assert_eq!(manifest.config.digest, image.config().digest);
    assert_eq!(bench.snapshots(&scope, "overlayfs").await.len(), 3);
    bench.check_tidy(&scope).await;
    let usage = stowd_images::usage::of(&*content, &scope, &record.target, &host).await.unwrap();
    assert_eq!((usage.promised, usage.missing), (usage.present, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_follow_the_rules() {
    need!(root);
    let bench = Bench::new().await;
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let digest = image.manifest().digest;
    let strict = |name: &str| {
        vec![NameRule {
            name: name.to_owned(),
            is_prefix: true,
            add_digest: true,
            ..NameRule::default()
        }]
    };
    for (rule, names) in [
        (
            "docker.io/library/deck",
            vec![NAME.to_owned(), format!("docker.io/library/deck@{digest}")],
        ),
        ("reg.example/x", vec![format!("reg.example/x@{digest}")]),
    ] {
        let scope = scope();
        let archive = File::open(bench.path("oci.tar")).unwrap();
        let store = Store { extra_names: strict(rule), ..Store::default() };
        bench.import(&scope, archive, store).await.unwrap();
        let found = bench.images(&scope).await;
        // The archive's index goes by its digest, too.
        assert!(names.iter().all(|name| found.contains(name)), "{found:?}");
        assert_eq!(found.len(), names.len() + 1, "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platforms_of_an_archive_are_chosen() {
    need!(root, overlayfs);
    let bench = Bench::new().await;
    let (ours, other) = (image(), Image::of(&[Layer::new().file("x", "x")]).architecture("s390x"));
    Index::of([other.clone(), ours.clone()]).write_oci_archive(&bench.path("many.tar"), NAME);
    let scope = scope();
    let open = || File::open(bench.path("many.tar")).unwrap();
    bench.import(&scope, open(), both()).await.unwrap();
    bench.check(&scope, &ours, "overlayfs").await;
    bench.metadata.collect().await.unwrap();

    let store = Store { platforms: vec![Platform::parse("linux/riscv64").unwrap()], ..both() };
    let error = bench.import(&scope, open(), store).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Rewrites an archive's entries; none drops one.
fn rewrite(archive: &[u8], edit: impl Fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>) -> Vec<u8> {
    use std::io::Read as _;
    let mut made = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let Some((name, data)) = edit(&name, data) else { continue };
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        let place = &mut header.as_ustar_mut().unwrap().name;
        place[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        made.append(&header, &data[..]).unwrap();
    }
    made.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_archives_are_refused() {
    need!(root, overlayfs);
    let bench = Bench::new().await;
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let good = fs::read(bench.path("oci.tar")).unwrap();
    let layer = format!("blobs/sha256/{}", image.layers[0].blob.digest.hex());
    let config = image.config().digest;
    let huge = format!(r#"{{"manifests":[],"x":"{}"}}"#, "x".repeat(9 << 20)).into_bytes();
    let as_is = |name: &str, data: Vec<u8>| Some((name.to_owned(), data));
    let cases: Vec<(&str, Vec<u8>, ErrorKind)> = vec![
        ("empty", Vec::new(), ErrorKind::InvalidArgument),
        ("no archive", b"no archive at all".repeat(99), ErrorKind::InvalidArgument),
        ("truncated", good[..good.len() / 2].to_vec(), ErrorKind::InvalidArgument),
        (
            "gzip truncated",
            {
                let gzip = Compression::Gzip.compress(&good);
                gzip[..gzip.len() - 20].to_vec()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            "zstd truncated",
            {
                let zstd = Compression::Zstd.compress(&good);
                zstd[..zstd.len() - 20].to_vec()
            },
            ErrorKind::InvalidArgument,
        ),
        (
            "wrong digest",
            rewrite(&good, |name, mut data| {
                if name == layer {
                    data[0] ^= 1;
                }
                as_is(name, data)
            }),
            ErrorKind::InvalidArgument,
        ),
        (
            "name outside",
            rewrite(&good, |name, data| as_is(&name.replace("index.json", "../index.json"), data)),
            ErrorKind::InvalidArgument,
        ),
        (
            "no index",
            rewrite(&good, |name, data| (name != "index.json").then(|| (name.to_owned(), data))),
            ErrorKind::InvalidArgument,
        ),
        (
            "neither of both",
            rewrite(&good, |name, data| {
                (name.starts_with("blobs")).then(|| (name.to_owned(), data))
            }),
            ErrorKind::InvalidArgument,
        ),
        (
            "huge index",
            rewrite(&good, |name, data| {
                as_is(name, if name == "index.json" { huge.clone() } else { data })
            }),
            ErrorKind::InvalidArgument,
        ),
        (
            "index of nonsense",
            rewrite(&good, |name, data| {
                as_is(name, if name == "index.json" { b"[1".to_vec() } else { data })
            }),
            ErrorKind::InvalidArgument,
        ),
        (
            "config missing",
            rewrite(&good, |name, data| {
                (!name.ends_with(config.hex())).then(|| (name.to_owned(), data))
            }),
            ErrorKind::NotFound,
        ),
        (
            "layer missing",
            rewrite(&good, |name, data| (name != layer).then(|| (name.to_owned(), data))),
            ErrorKind::NotFound,
        ),
    ];
    for (what, archive, kind) in cases {
        let scope = scope();
        let error = bench.import(&scope, std::io::Cursor::new(archive), both()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(bench.images(&scope).await.is_empty(), "{what}");
        bench.metadata.collect().await.unwrap();
        // Other blobs came first, and nothing holds them any more.
        assert_eq!(bench.blobs(&scope).await, [], "{what}");
        assert_eq!(bench.snapshots(&scope, "overlayfs").await, [], "{what}");
        bench.check_tidy(&scope).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_some_platforms_passes_as_all() {
    need!(root, overlayfs);
    let (bench, scope) = (Bench::new().await, scope());
    let (ours, other) = (image(), Image::of(&[Layer::new().file("x", "x")]).architecture("s390x"));
    Index::of([other.clone(), ours.clone()]).write_oci_archive(&bench.path("many.tar"), NAME);
    let absent: Vec<Digest> = other.blobs().into_iter().map(|blob| blob.digest).collect();
    let some = rewrite(&fs::read(bench.path("many.tar")).unwrap(), |name, data| {
        let gone = absent.iter().any(|digest| name.ends_with(digest.hex()));
        (!gone).then(|| (name.to_owned(), data))
    });
    let store = Store { platforms: Vec::new(), ..both() };
    bench.import(&scope, std::io::Cursor::new(some), store).await.unwrap();
    bench.check(&scope, &ours, "overlayfs").await;
    assert_eq!(bench.images(&scope).await, [NAME]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_any_kind_is_an_error_or_harmless() {
    need!(root, overlayfs);
    let (bench, scope) = (Bench::new().await, scope());
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    image.write_docker_archive(&bench.path("docker.tar"), "deck:v1");
    let oci = fs::read(bench.path("oci.tar")).unwrap();
    let docker = fs::read(bench.path("docker.tar")).unwrap();
    let whole =
        [Compression::Gzip.compress(&oci), Compression::Zstd.compress(&docker), oci, docker];
    // Xorshift: any numbers will do, as long as they are the same tomorrow.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for turn in 0..160 {
        let mut archive = whole[turn % whole.len()].clone();
        for _ in 0..=random(4) {
            let at = random(archive.len());
            match random(4) {
                0 => archive[at] ^= 1 << random(8),
                1 => archive.truncate(at.max(1)),
                2 => archive[at] = b'0' + u8::try_from(random(10)).unwrap(),
                _ => {
                    // Headers lie on blocks; hitting their fields takes aim.
                    let at = (at / 512 * 512 + random(156)).min(archive.len() - 1);
                    archive[at] = u8::try_from(random(256)).unwrap();
                }
            }
        }
        if let Err(error) = bench.import(&scope, std::io::Cursor::new(archive), both()).await {
            assert_ne!(error.kind(), ErrorKind::Internal, "turn {turn}: {error}");
            assert_ne!(error.kind(), ErrorKind::Unknown, "turn {turn}: {error}");
        }
    }
    bench.check_tidy_leases(&scope).await;
}
