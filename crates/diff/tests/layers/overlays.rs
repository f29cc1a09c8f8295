//! Overlays beyond upper and lower directories.

use std::fs;
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};
use stowd_core::ErrorKind;
use stowd_core::mount::Mount;
use stowd_testing::mounts::Mounted;

use crate::bench::{Bench, bind, names, overlay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_not_shared_is_looked_at() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (lower, upper) = (bench.folder("lower"), bench.folder("upper"));
    fs::create_dir_all(lower.join("d/mounted")).unwrap();
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/new"), "new").unwrap();
    // Whoever goes there fails.
    let nothing = Mount { kind: "tmpfs".to_owned(), source: "t".to_owned(), ..Mount::default() };
    let trap = Mounted::at(&lower.join("d/mounted"), &[nothing]);
    let mounts = overlay(&upper, &[&lower], &[]);
    let layer = bench.compare(&bind(&lower), &mounts).await.unwrap();
    assert_eq!(names(&layer), ["d/", "d/new"]);
    let error = bench.compare(&[], &mounts).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    trap.unmount();
    assert_eq!(names(&bench.compare(&[], &mounts).await.unwrap()), ["d/", "d/mounted/", "d/new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_that_moved_are_followed() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (lower, upper) = (bench.folder("lower"), bench.folder("upper"));
    fs::create_dir_all(lower.join("old/deep")).unwrap();
    fs::write(lower.join("old/deep/file"), "content").unwrap();
    let mounts = overlay(&upper, &[&lower], &["redirect_dir=on"]);
    let mounted = Mounted::at(&bench.folder("mounted"), &mounts);
    fs::rename(mounted.path().join("old"), mounted.path().join("renamed")).unwrap();
    mounted.unmount();
    assert!(!upper.join("renamed/deep").exists(), "the kernel copied instead");
    let layer = bench.compare(&bind(&lower), &mounts).await.unwrap();
    assert_eq!(names(&layer), [".wh.old", "renamed/", "renamed/deep/", "renamed/deep/file"]);
    assert!(!layer.windows(15).any(|part| part == b"trusted.overlay"));
    assert!(bench.content().statuses(&bench.scope().await, &Default::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_without_their_content_are_followed() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (lower, upper) = (bench.folder("lower"), bench.folder("upper"));
    let content = vec![b'c'; 100_000];
    fs::write(lower.join("file"), &content).unwrap();
    fs::write(lower.join("before"), &content).unwrap();
    let mounts = overlay(&upper, &[&lower], &["metacopy=on"]);
    let mounted = Mounted::at(&bench.folder("mounted"), &mounts);
    fs::write(mounted.path().join("before"), "changed").unwrap();
    std::os::unix::fs::chown(mounted.path().join("file"), Some(7), Some(8)).unwrap();
    mounted.unmount();
    let layer = bench.compare(&bind(&lower), &mounts).await.unwrap();
    assert_eq!(names(&layer), ["before", "file"]);
    assert!(layer.windows(content.len()).any(|part| part == content));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whiteouts_by_attribute_are_whiteouts() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let (lower, upper) = (bench.folder("lower"), bench.folder("upper"));
    let middle = bench.folder("middle");
    for name in ["gone", "kept"] {
        fs::create_dir_all(lower.join("d")).unwrap();
        fs::write(lower.join("d").join(name), "x").unwrap();
    }
    fs::create_dir(middle.join("d")).unwrap();
    fs::write(middle.join("d/gone"), "").unwrap();
    let mark = |path: &Path, key: &str, value: &[u8]| {
        setxattr(path, key, value, XattrFlags::empty()).unwrap();
    };
    mark(&middle.join("d"), "trusted.overlay.opaque", b"x");
    mark(&middle.join("d/gone"), "trusted.overlay.whiteout", b"y");
    let mounts = overlay(&upper, &[&middle, &lower], &[]);
    let mounted = Mounted::at(&bench.folder("mounted"), &mounts);
    let known = !mounted.path().join("d/gone").exists();
    mounted.unmount();
    let layer = bench.compare(&bind(&lower), &mounts).await.unwrap();
    // Kernels before 6.7 show an empty file.
    let wanted = if known { "d/.wh.gone" } else { "d/gone" };
    assert_eq!(names(&layer), ["d/", wanted]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_file_systems_are_mounted_out_of_sight() {
    stowd_testing::need!(root, overlayfs);
    let bench = Bench::new().await;
    let lower = bench.folder("lower");
    fs::write(lower.join("gone"), "x").unwrap();
    let empty = Mount { kind: "tmpfs".to_owned(), source: "t".to_owned(), ..Mount::default() };
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let layer = bench.compare(&bind(&lower), std::slice::from_ref(&empty)).await.unwrap();
    assert_eq!(names(&layer), [".wh.gone"]);
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let unknown = Mount { kind: "no-such-fs".to_owned(), ..empty };
    bench.compare(&bind(&lower), &[unknown]).await.unwrap_err();
}
