//! Layers that go through programs first.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;

use stowd_core::descriptor::media_type;
use stowd_core::diff::{Applier as _, Apply, Placement, Source, Sync};
use stowd_core::{Any, Descriptor, Digest, Result};
use stowd_diff::{Config, Processor, Walking};
use stowd_testing::image::{Compression, Layer};

use crate::bench::{Bench, bind};

fn shell(id: &str, accepts: &str, returns: &str, script: &str) -> Processor {
    Processor {
        id: id.to_owned(),
        accepts: vec![accepts.to_owned()],
        returns: returns.to_owned(),
        path: "sh".into(),
        args: vec!["-c".to_owned(), script.to_owned(), "processor".to_owned()],
        env: vec!["KEY=let me in".to_owned()],
    }
}

/// Applies a layer to an empty folder and returns what is in its file.
async fn apply(
    processors: Vec<Processor>,
    kind: &str,
    data: Vec<u8>,
    payload: Option<(&str, &str)>,
) -> Result<(Descriptor, String)> {
    let bench = Bench::new().await;
    let differ = Walking::new(bench.content(), Config { processors, ..Config::default() });
    let folder = bench.folder("tree");
    let payload = payload.map(|(id, text)| {
        let any = Any { type_url: "text".to_owned(), value: text.to_owned().into() };
        (id.to_owned(), any)
    });
    let apply = Apply {
        layer: Descriptor::new(kind, Digest::of(&data), data.len() as u64),
        mounts: bind(&folder),
        placement: Placement::OnParents,
        sync: Sync::Later,
        payloads: payload.into_iter().collect::<BTreeMap<_, _>>(),
    };
    let source = Source::Stream(Box::new(Cursor::new(data)));
    let applied = differ.apply(&bench.scope().await, apply, source).await?;
    Ok((applied, fs::read_to_string(folder.join("file")).unwrap()))
}

/// A layer that is some megabytes long, plain and packed.
fn layer(compression: Compression) -> Vec<u8> {
    let big = "0123456789abcdef".repeat(200_000);
    Layer::new().file("big", big).file("file", "content").pack(compression).blob.data
}

/// Turns bytes into others, and back.
fn hidden(data: &[u8]) -> Vec<u8> {
    data.iter().map(|byte| byte ^ 0x80).collect()
}

const SHOW: &str = "tr '\\000-\\177\\200-\\377' '\\200-\\377\\000-\\177'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_makes_a_layer_of_it() {
    stowd_testing::need!(root);
    let plain = layer(Compression::Plain);
    let show = shell("show", "x/hidden", media_type::LAYER, SHOW);
    let (applied, text) = apply(vec![show], "x/hidden", hidden(&plain), None).await.unwrap();
    assert_eq!((applied.digest, text.as_str()), (Digest::of(&plain), "content"));
    assert_eq!(applied.media_type, media_type::LAYER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_follow_each_other_and_decompression_follows_them() {
    stowd_testing::need!(root);
    let packed = layer(Compression::Gzip);
    let processors = vec![
        shell("twice", "x/twice", "x/hidden", SHOW),
        shell("once", "x/hidden", media_type::LAYER_GZIP, SHOW),
    ];
    // Hidden twice is not hidden.
    let (applied, text) = apply(processors, "x/twice", packed, None).await.unwrap();
    assert_eq!(applied.digest, Digest::of(&layer(Compression::Plain)));
    assert_eq!(text, "content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gets_its_media_type_variables_and_payload() {
    stowd_testing::need!(root);
    let plain = layer(Compression::Plain);
    let script = "test \"$STREAM_PROCESSOR_MEDIATYPE\" = x/y && test \"$KEY\" = 'let me in' && \
                  grep -aq 'the secret' <&3 && cat";
    let asks = || vec![shell("asks", "x/y", media_type::LAYER, script)];
    let secret = Some(("asks", "the secret"));
    apply(asks(), "x/y", plain.clone(), secret).await.unwrap();
    let wrong = apply(asks(), "x/y", plain.clone(), Some(("asks", "a guess"))).await.unwrap_err();
    assert!(wrong.to_string().contains("stream processor asks ended with status 1"), "{wrong}");
    // Without a payload there is no descriptor 3.
    let none = shell("none", "x/y", media_type::LAYER, "! { true <&3; } 2>/dev/null && cat");
    apply(vec![none], "x/y", plain, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told() {
    stowd_testing::need!(root);
    let plain = layer(Compression::Plain);
    let with = |script: &str| vec![shell("p", "x/y", media_type::LAYER, script)];
    let fails = |processors| apply(processors, "x/y", plain.clone(), None);
    let said = fails(with("cat; echo no key >&2; exit 3")).await.unwrap_err().to_string();
    assert!(said.contains("stream processor p ended with status 3: no key"), "{said}");
    let said = fails(with("kill -9 $$")).await.unwrap_err().to_string();
    assert!(said.contains("ended with signal 9"), "{said}");
    // What it makes is a stranger's, too.
    let said = fails(with("head -c 100000 /dev/urandom; cat >/dev/null")).await.unwrap_err();
    assert_eq!(said.kind(), stowd_core::ErrorKind::InvalidArgument, "{said}");
    let absent = Processor { path: "/no/such/program".into(), ..with("").remove(0) };
    let said = fails(vec![absent]).await.unwrap_err().to_string();
    assert!(said.contains("program /no/such/program not found"), "{said}");
}
