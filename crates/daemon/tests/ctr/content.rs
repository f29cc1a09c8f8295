//! Blobs.

use stowd_testing::transcript::Session;

use crate::import;

crate::scripts!(show_and_get, ingest_and_remove);

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
