//! Image records, written last.

use std::time::SystemTime;

use jiff::Timestamp;
use stowd_core::images::{Image, Store as Images};
use stowd_core::transfer::{NameRule, Store};
use stowd_core::{Descriptor, Error, Labels, Result, Scope, labels};
use stowd_images::archive::names_for;

/// Returns the records for an image that was asked for by name.
pub(crate) fn of_target(store: &Store, target: &Descriptor) -> Vec<Image> {
    let mut made = Vec::new();
    if !store.name.is_empty() {
        made.push(image(store.name.clone(), target, store.labels.clone()));
    }
    for rule in &store.extra_names {
        if let Some(name) = extra_name(rule, target) {
            made.push(image(name, target, extra_labels(store)));
        }
    }
    made
}

/// Returns the records for a descriptor of an archive's index.
pub(crate) fn of_entry(store: &Store, target: &Descriptor) -> Vec<Image> {
    let names = names_for(target, &store.extra_names).into_iter();
    names.map(|name| image(name, target, extra_labels(store))).collect()
}

/// Creates a record, or changes the one of that name.
pub(crate) async fn write(images: &dyn Images, scope: &Scope, image: Image) -> Result<Image> {
    // The record may come and go under our hands; then the other call is tried.
    for _ in 0..16 {
        match images.create(scope, image.clone()).await {
            Err(error) if error.is_already_exists() => {}
            done => return done,
        }
        match images.update(scope, image.clone(), &[]).await {
            Err(error) if error.is_not_found() => {}
            done => return done,
        }
    }
    Err(Error::unavailable(format_args!("image {:?} changes all the time", image.name)))
}

fn image(name: String, target: &Descriptor, labels: Labels) -> Image {
    let never = SystemTime::UNIX_EPOCH;
    Image { name, target: target.clone(), labels, created: never, updated: never }
}

fn extra_name(rule: &NameRule, target: &Descriptor) -> Option<String> {
    match (rule.is_prefix, rule.add_digest) {
        (true, false) => None,
        (_, true) => Some(format!("{}@{}", rule.name, target.digest)),
        (false, false) => Some(rule.name.clone()),
    }
}

/// Further names live as long as the first one does: they expire at once but for the back
/// reference to it.
fn extra_labels(store: &Store) -> Labels {
    let mut made = store.labels.clone();
    if !store.name.is_empty() {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        made.insert(labels::GC_BREF_IMAGE.to_owned(), store.name.clone());
        made.insert(labels::GC_EXPIRE.to_owned(), now);
    }
    made
}
