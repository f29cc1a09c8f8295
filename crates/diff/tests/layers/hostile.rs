//! Layers that mean harm, where the contract's rules do not try them: written on their own, to be put
//! upon others later, and in the middle of an overlay.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use stowd_core::ErrorKind;
use stowd_core::descriptor::media_type;
use stowd_core::diff::Placement;
use stowd_testing::image::entry::{Entry, Kind, finish};
use stowd_testing::image::malformed::{self, ESCAPED, Verdict};

use crate::bench::{Bench, bind, overlay};

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut archive));
    finish(&mut archive);
    archive
}

fn nothing_escaped(case: &str, folder: &Path) {
    let places = [PathBuf::from("/"), PathBuf::from("/tmp"), folder.to_path_buf()];
    for place in places {
        let path = place.join(ESCAPED);
        assert!(fs::symlink_metadata(&path).is_err(), "{case}: made {}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detached_layers_stay_inside() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let cases = malformed::escapes().into_iter().chain(malformed::broken());
    for case in cases.chain(malformed::bombs(8)) {
        let folder = bench.folder("detached");
        fs::create_dir(folder.join("tree")).unwrap();
        let mounts = bind(&folder.join("tree"));
        let blob = case.layer.blob;
        let kind = &blob.media_type;
        let outcome = bench.apply(&mounts, Placement::Detached, kind, blob.data).await;
        nothing_escaped(case.name, &folder);
        match outcome {
            Ok(_) => assert_eq!(case.verdict, Verdict::Contained, "{}", case.name),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}: {error}", case.name);
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_layers_below_lead_nowhere_else() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (outside, lower) = (bench.folder("outside"), bench.folder("lower"));
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, lower.join("absolute")).unwrap();
    symlink("../outside", lower.join("relative")).unwrap();
    for way in ["absolute", "relative"] {
        for entry in [
            Entry::new(format!("{way}/new"), Kind::File(b"x".to_vec())),
            Entry::new(format!("{way}/secret"), Kind::File(b"x".to_vec())),
            Entry::new(format!("{way}/.wh.secret"), Kind::File(Vec::new())),
            Entry::new(format!("{way}/.wh..wh..opq"), Kind::File(Vec::new())),
            Entry::new("hard", Kind::HardLink(format!("{way}/secret"))),
        ] {
            let layer = tar(&[entry]);
            for (mounts, placement) in [
                (bind(&bench.folder("copy")), Placement::OnParents),
                (overlay(&bench.folder("upper"), &[&lower], &[]), Placement::OnParents),
                (bind(&bench.folder("alone")), Placement::Detached),
            ] {
                if !bench.folder("copy").join(way).is_symlink() {
                    symlink(&outside, bench.folder("copy").join(way)).unwrap();
                }
                // Refused or done inside.
                let _ = bench.apply(&mounts, placement, media_type::LAYER, layer.clone()).await;
                let held: Vec<_> =
                    fs::read_dir(&outside).unwrap().map(|it| it.unwrap().file_name()).collect();
                assert_eq!(held, ["secret"], "{way}");
                assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
                assert_eq!(
                    std::os::unix::fs::MetadataExt::nlink(
                        &fs::metadata(outside.join("secret")).unwrap()
                    ),
                    1
                );
            }
            for used in ["copy", "upper", "upper.work", "alone"] {
                fs::remove_dir_all(bench.folder(used)).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_of_the_machine_are_not_taken_from_layers() {
    stowd_testing::need!(root);
    let bench = Bench::new().await;
    let tree = bench.folder("tree");
    let layer = tar(&[Entry::new("d", Kind::Directory)
        .xattr("trusted.overlay.opaque", b"y")
        .xattr("trusted.overlay.redirect", b"/etc")
        .xattr("user.fine", b"z")]);
    bench.apply(&bind(&tree), Placement::OnParents, media_type::LAYER, layer).await.unwrap();
    let mut list = [0; 200];
    let length = rustix::fs::listxattr(tree.join("d"), &mut list[..]).unwrap();
    assert_eq!(&list[..length], b"user.fine\0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_follows_no_link() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (lower, upper) = (bench.folder("lower"), bench.folder("upper"));
    // A folder below and a link above, and the other way round.
    fs::create_dir_all(lower.join("one")).unwrap();
    fs::write(lower.join("one/hostname"), "x").unwrap();
    symlink("/etc", lower.join("two")).unwrap();
    symlink("/etc", upper.join("one")).unwrap();
    fs::create_dir(upper.join("two")).unwrap();
    fs::write(upper.join("two/new"), "x").unwrap();
    let layer = bench.compare(&bind(&lower), &overlay(&upper, &[&lower], &[])).await.unwrap();
    assert_eq!(crate::bench::names(&layer), ["one", "two/", "two/new"]);
    let layer = bench.compare(&bind(&lower), &bind(&upper)).await.unwrap();
    assert_eq!(crate::bench::names(&layer), ["one", "two/", "two/new"]);
}
