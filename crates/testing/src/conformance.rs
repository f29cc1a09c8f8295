//! What every implementation of a contract must keep, as lists of named checks.
//!
//! A suite is a module with a `Subject` (the contract's implementation and what it needs around it)
//! and a list of checks; a check is an async function named after its rule, and fails by panicking.
//! [`run`] gives every check a subject of its own, in a namespace of its own, and reports all
//! failures together, each under the name of its rule.
//!
//! The suites know nothing of how a contract is implemented. They run over gRPC against containerd
//! too: a check that containerd fails is wrong, or says in its comment why containerd may.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use stowd_core::content::{Commit, Store, Writer, WriterOptions};
use stowd_core::{Chunks, Digest, Error, ErrorKind, Labels, Scope};

pub mod containers;
pub mod content;
pub mod diff;
pub mod events;
pub mod images;
pub mod leases;
pub mod mounts;
pub mod sandbox_controllers;
pub mod sandboxes;
pub mod snapshots;
pub mod tasks;

/// One rule, and the code that tries it.
pub struct Check<S> {
    /// The rule, in words joined by underscores.
    pub name: &'static str,
    /// Tries it; panics where the rule is broken.
    pub run: fn(Arc<S>) -> Trying,
}

/// A check under way.
pub type Trying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a suite's checks one after the other, each on a subject made for it by `make`.
///
/// # Panics
/// At the end, when checks failed, with their names and reasons.
pub async fn run<S: 'static, M>(
    suite: &str,
    checks: impl IntoIterator<Item = &'static Check<S>>,
    make: M,
) where
    M: AsyncFnMut(&str) -> S,
{
    run_up_to(1, suite, checks, make).await;
}

/// As [`run`], where a rule counts as broken when it was broken so many times in a row: for
/// containerd, whose shims now and then end before their last event has gone out, and whose writers
/// may still be closing when their ingest is aborted.
///
/// # Panics
/// As [`run`].
pub async fn run_up_to<S: 'static, M>(
    tries: usize,
    suite: &str,
    checks: impl IntoIterator<Item = &'static Check<S>>,
    mut make: M,
) where
    M: AsyncFnMut(&str) -> S,
{
    let only = std::env::var("STOWD_CHECK").ok();
    let mut failures = Vec::new();
    let mut tried = 0;
    for check in checks {
        if only.as_ref().is_some_and(|only| !check.name.contains(only.as_str())) {
            continue;
        }
        tried += 1;
        let mut failure = None;
        for _ in 0..tries {
            let subject = make(check.name).await;
            failure = broken(check, subject).await;
            if failure.is_none() {
                break;
            }
        }
        failures.extend(failure.map(|reason| format!("{}: {reason}", check.name)));
    }
    assert!(
        failures.is_empty(),
        "{suite}: {} of {tried} rules are broken:\n- {}",
        failures.len(),
        failures.join("\n- ")
    );
}

/// Tries a rule; says how it is broken, if it is.
async fn broken<S>(check: &Check<S>, subject: S) -> Option<String> {
    let trying = AssertUnwindSafe((check.run)(Arc::new(subject))).catch_unwind();
    // Long enough for anything but a call that hangs.
    match tokio::time::timeout(Duration::from_secs(60), trying).await {
        Ok(Ok(())) => None,
        Ok(Err(panic)) => Some(
            panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default(),
        ),
        Err(_) => Some("hangs".to_owned()),
    }
}

/// Makes a suite's list from the names of its check functions, grouped by the module they are in.
macro_rules! checks {
    ($subject:ty: $($module:ident { $($name:ident),+ $(,)? })+) => {
        /// The suite's rules.
        pub const CHECKS: &[crate::conformance::Check<$subject>] = &[
            $($(crate::conformance::Check {
                name: stringify!($name),
                run: |subject| Box::pin(async move { $module::$name(&subject).await }),
            },)+)+
        ];
    };
    ($subject:ty: $($name:ident),+ $(,)?) => {
        /// The suite's rules.
        pub const CHECKS: &[crate::conformance::Check<$subject>] = &[
            $(crate::conformance::Check {
                name: stringify!($name),
                run: |subject| Box::pin(async move { $name(&subject).await }),
            }),+
        ];
    };
}
use checks;

/// Makes labels from pairs.
fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    BTreeMap::from(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())))
}

/// Checks that a call was refused with one of these kinds.
#[track_caller]
fn refused<T>(result: Result<T, Error>, kinds: &[ErrorKind]) -> Error {
    match result {
        Ok(_) => panic!("the call succeeded; expected {kinds:?}"),
        Err(error) => {
            assert!(
                kinds.contains(&error.kind()),
                "expected {kinds:?}, got {:?}: {error}",
                error.kind()
            );
            error
        }
    }
}

/// Unwraps a result and says what was tried.
trait Must<T> {
    fn must(self, act: impl Display) -> T;
}

impl<T> Must<T> for Result<T, Error> {
    #[track_caller]
    fn must(self, act: impl Display) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{act}: {error} ({:?})", error.kind()),
        }
    }
}

/// Reads a chunked list to its end.
async fn collect<T>(mut chunks: Chunks<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        all.extend(chunk.must("the next part of a list"));
    }
    all
}

/// Tries until something holds, for as long as something already on its way may take.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never happened that {what}");
}

/// Opens an ingest as soon as nobody else holds it: over a socket, a dropped writer lets go late.
async fn open_writer(store: &dyn Store, scope: &Scope, options: WriterOptions) -> Box<dyn Writer> {
    for _ in 0..200 {
        match store.writer(scope, options.clone()).await {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            other => return other.must("opening a writer"),
        }
    }
    panic!("the ingest {} stays locked", options.reference);
}

/// Stores a blob in one go.
async fn put(store: &dyn Store, scope: &Scope, data: &[u8], with: Labels) -> Digest {
    let digest = Digest::of(data);
    let options = WriterOptions { reference: format!("put-{digest}"), ..Default::default() };
    let mut writer = open_writer(store, scope, options).await;
    for chunk in data.chunks(1 << 20) {
        writer.write(Bytes::copy_from_slice(chunk)).await.must("writing");
    }
    let commit =
        Commit { size: Some(data.len() as u64), expected: Some(digest.clone()), labels: with };
    match writer.commit(commit).await {
        Ok(made) => assert_eq!(made, digest),
        Err(error) => assert!(error.is_already_exists(), "committing: {error}"),
    }
    digest
}

/// Reads a whole blob.
async fn get(store: &dyn Store, scope: &Scope, digest: &Digest) -> Vec<u8> {
    let blob = store.open(scope, digest).await.must("opening a blob");
    let mut data = Vec::new();
    while (data.len() as u64) < blob.size() {
        let piece = blob.read_at(data.len() as u64, 1 << 20).await.must("reading a blob");
        assert!(!piece.is_empty(), "reading ended at {} of {}", data.len(), blob.size());
        data.extend_from_slice(&piece);
    }
    data
}

/// Has garbage collected before it returns, as clients do it: by deleting an empty lease.
async fn collect_garbage(store: &dyn stowd_core::leases::Store, scope: &Scope) {
    let scope = Scope::new(scope.namespace.clone());
    let lease = store.create(&scope, "collect-garbage", Labels::new()).await.must("a lease");
    store
        .delete(&scope, &lease.id, stowd_core::images::Collect::BeforeReturn)
        .await
        .must("deleting a lease");
}
