//! Exporting, and reading it back; tagging.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;

use stowd_core::progress::Silent;
use stowd_core::transfer::{Destination, Export, Source, Store, Transfer as _};
use stowd_core::{ErrorKind, Platform, Result, Scope};
use stowd_testing::image::{Image, Index, Layer};
use stowd_testing::need;

use crate::bench::{Bench, naming, scope, unpacking};
use crate::pull::image;

const NAME: &str = "docker.io/library/deck:v1";

async fn export(bench: &Bench, scope: &Scope, names: &[&str], options: Export) -> Result<Vec<u8>> {
    let path = bench.path("export.tar");
    let source = Source::Images(names.iter().map(|&name| name.to_owned()).collect());
    let file = Box::new(File::create(&path).unwrap());
    let destination = Destination::Archive(file, options);
    bench.local.transfer(scope, source, destination, Arc::new(Silent)).await?;
    Ok(fs::read(path).unwrap())
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries.map(|it| it.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
}

fn file(archive: &[u8], wanted: &str) -> serde_json::Value {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(|it| it.unwrap());
    let entry = entries.find(|it| it.path().unwrap().to_str() == Some(wanted)).unwrap();
    serde_json::from_reader(entry).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_comes_back() {
    need!(root, overlayfs);
    let (bench, first, second) = (Bench::new().await, scope(), scope());
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let archive = File::open(bench.path("oci.tar")).unwrap();
    bench.import(&first, archive, naming("x")).await.unwrap();
    let source = Source::Images(vec![NAME.to_owned()]);
    let tag = Store { name: "reg.example/other:v2".to_owned(), ..Store::default() };
    let destination = Destination::Images(tag);
    bench.local.transfer(&first, source, destination, Arc::new(Silent)).await.unwrap();

    let both = [NAME, "reg.example/other:v2"];
    let out = export(&bench, &first, &both, Export::default()).await.unwrap();
    assert_eq!(out, export(&bench, &first, &both, Export::default()).await.unwrap());
    let files = names(&out);
    let mut sorted = files.clone();
    sorted.sort();
    assert_eq!(files, sorted);
    assert_eq!(files.len(), 2 + image.blobs().len() + 3);
    let docker = file(&out, "manifest.json");
    assert_eq!(docker[0]["RepoTags"], serde_json::json!(["deck:v1", "reg.example/other:v2"]));
    assert_eq!(docker[0]["Layers"].as_array().unwrap().len(), 3);
    let index = file(&out, "index.json");
    assert_eq!(index["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"], "v2");

    let store = Store { extra_names: naming("x").extra_names, ..unpacking("") };
    bench.import(&second, std::io::Cursor::new(out), store).await.unwrap();
    assert_eq!(bench.images(&second).await, both);
    bench.check(&second, &image, "overlayfs").await;
    bench.metadata.collect().await.unwrap();
    bench.check_tidy(&second).await;

    let bare = Export { skip_compatibility_manifest: true, ..Export::default() };
    let out = export(&bench, &first, &[NAME], bare).await.unwrap();
    assert!(!names(&out).contains(&"manifest.json".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_platforms_or_all_of_them() {
    need!(root);
    let (bench, scope) = (Bench::new().await, scope());
    let (ours, other) = (image(), Image::of(&[Layer::new().file("x", "x")]).architecture("s390x"));
    Index::of([other.clone(), ours.clone()]).write_oci_archive(&bench.path("many.tar"), NAME);
    let archive = File::open(bench.path("many.tar")).unwrap();
    let store = Store { platforms: vec![Platform::host()], ..naming("x") };
    bench.import(&scope, archive, store).await.unwrap();
    // Nothing keeps what the other manifest leads to.
    bench.metadata.collect().await.unwrap();

    let here = export(&bench, &scope, &[NAME], Export::default()).await.unwrap();
    let docker = file(&here, "manifest.json");
    assert_eq!(docker[0]["Config"], format!("blobs/sha256/{}", ours.config().digest.hex()));
    let files = names(&here);
    assert!(!files.iter().any(|it| it.ends_with(other.config().digest.hex())), "{files:?}");

    let host = Export { platforms: vec![Platform::host()], ..Export::default() };
    export(&bench, &scope, &[NAME], host).await.unwrap();
    let all = Export { all_platforms: true, ..Export::default() };
    let error = export(&bench, &scope, &[NAME], all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let strange =
        Export { platforms: vec![Platform::parse("linux/riscv64").unwrap()], ..Export::default() };
    let error = export(&bench, &scope, &[NAME], strange).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = export(&bench, &scope, &["absent"], Export::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotten_blobs_do_not_leave() {
    need!(root);
    let (bench, scope) = (Bench::new().await, scope());
    let image = image();
    image.write_oci_archive(&bench.path("oci.tar"), NAME);
    let archive = File::open(bench.path("oci.tar")).unwrap();
    bench.import(&scope, archive, naming("x")).await.unwrap();
    let path = bench.path("content/blobs/sha256").join(image.layers[0].blob.digest.hex());
    let mut data = fs::read(&path).unwrap();
    data[9] ^= 1;
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap().write_all(&data).unwrap();
    let error = export(&bench, &scope, &[NAME], Export::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}
