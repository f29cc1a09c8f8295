//! Blobs.

use stowd_testing::image::{Image, Layer};
use stowd_testing::transcript::Session;

use crate::import;

crate::scripts!(show_and_get, ingest_and_remove, content_of_a_registry, content_by_hand,);

fn show_and_get(it: &mut Session<'_>) {
    it.ctr(&["content", "ls"]);
    import(it);
    it.ctr_sorted(&["content", "ls"]);
    let digests = it.ctr_sorted(&["content", "ls", "-q"]);
    assert_eq!(digests.lines().count(), 3, "manifest, config, layer: {digests}");
    let small: Vec<&str> = digests
        .lines()
        .filter(|digest| it.quiet(&["content", "get", digest]).contains("schemaVersion"))
        .collect();
    for digest in small {
        it.ctr(&["content", "get", digest]);
        it.ctr(&["content", "label", digest, "note=seen"]);
    }
    it.ctr_sorted(&["content", "ls"]);
    it.ctr(&["content", "active"]);
    it.fails(&["content", "get", &format!("sha256:{}", "0".repeat(64))]);
}

fn ingest_and_remove(it: &mut Session<'_>) {
    let data = "cargo\n";
    let digest = stowd_core::Digest::of(data.as_bytes()).to_string();
    let ingest = |it: &Session<'_>, reference: &str, expected: &str| {
        it.command(&["content", "ingest", "--expected-digest", expected, reference]).input(data)
    };
    ingest(it, "one", &digest).ok();
    it.ctr(&["content", "ls"]);
    assert_eq!(it.ctr(&["content", "get", &digest]), data);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let said = ingest(it, "two", &wrong).fails();
    it.note(&["content", "ingest", "two"], &said);
    // Nothing refers to it: garbage collection may have been faster, and then this prints nothing.
    it.quiet(&["content", "rm", &digest]);
    it.ctr(&["content", "ls"]);
    it.fails(&["content", "get", &digest]);
}

fn content_of_a_registry(it: &mut Session<'_>) {
    let image = Image::of(&[Layer::busybox(), Layer::new().file("second", "2")]);
    let reference = it.registry.push("deck/content", "1", &image);
    it.quiet(&["content", "fetch", "--plain-http", &reference]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["images", "ls"]);
    it.tries(&["content", "fetch-object", "--plain-http", &reference]);
    let digests = it.quiet(&["content", "ls", "-q"]);
    let small = digests.lines().find(|d| it.quiet(&["content", "get", d]).contains("rootfs"));
    let small = small.unwrap().to_owned();
    it.tries(&["content", "fetch-blob", "--plain-http", &reference, &small]);
    let other = format!("{}/deck/content-by-{}:1", it.registry.host(), it.daemon.pid());
    it.quiet(&[
        "content",
        "push-object",
        "--plain-http",
        &other,
        &small,
        "application/vnd.oci.image.config.v1+json",
    ]);
    it.tries(&["content", "fetch", "--plain-http", &reference.replace(":1", ":absent")]);
}

fn content_by_hand(it: &mut Session<'_>) {
    let data = "cargo\n".repeat(1000);
    let digest = stowd_core::Digest::of(data.as_bytes()).to_string();
    let mut ingest = |flags: &[&str], reference: &str| {
        let mut args = vec!["content", "ingest"];
        args.extend(flags);
        args.push(reference);
        let output = it.command(&args).input(data.as_bytes()).output();
        it.note(&args, &format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    };
    ingest(&["--expected-size", "6000"], "sized");
    ingest(&["--expected-size", "6000", "--expected-digest", &digest], "again");
    ingest(&["--expected-size", "1"], "small");
    ingest(&["--expected-digest", "md5:12"], "odd");
    ingest(&["--expected-digest", "nonsense"], "odder");
    it.tries(&["content", "active"]);
    it.tries(&["content", "label", &digest, "a=1", "b=2"]);
    it.tries(&["content", "label", &digest, "a="]);
    it.tries(&["content", "ls"]);
    it.tries(&["content", "label", &digest]);
    it.tries(&["content", "label", &format!("sha256:{}", "1".repeat(64)), "a=1"]);
    it.tries(&["content", "label", "nonsense", "a=1"]);
    it.tries(&["content", "rm", "nonsense"]);
    it.tries(&["content", "rm", &format!("sha256:{}", "1".repeat(64))]);
    it.tries(&["content", "get"]);
    it.tries(&["content", "ingest"]);
    it.tries(&["content", "rm", &digest]);
    it.tries(&["content", "ls", "-q"]);
}
