//! What `containers info` prints: the record as Go's encoder writes it, which scripts read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use stowd_client::Container;
use stowd_client::spec::Spec;
use stowd_core::{Any, Error, Labels, Result};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    labels: &'a Labels,
    image: &'a str,
    runtime: Runtime<'a>,
    snapshot_key: &'a str,
    snapshotter: &'a str,
    created_at: String,
    updated_at: String,
    extensions: BTreeMap<&'a str, Packed<'a>>,
    #[serde(rename = "SandboxID")]
    sandbox_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Value<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Runtime<'a> {
    name: &'a str,
    options: Option<Packed<'a>>,
}

/// A protobuf `Any` that is not looked into; bytes are in base64.
#[derive(Serialize)]
pub(crate) struct Packed<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    type_url: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
}

/// The spec, read as such where it is one.
#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Spec(Box<Spec>),
    Packed(Packed<'a>),
}

/// Returns a container's record in JSON.
pub(super) fn to_json(container: &Container) -> Result<String> {
    let record = container.record();
    let spec = record.spec.as_ref().filter(|spec| !spec.value.is_empty());
    let spec = spec.map(|spec| match Spec::parse(&spec.value) {
        Ok(read) => Value::Spec(Box::new(read)),
        Err(_) => Value::Packed(packed(spec)),
    });
    let shown = Record {
        id: &record.id,
        labels: &record.labels,
        image: &record.image,
        runtime: Runtime {
            name: &record.runtime.name,
            options: record.runtime.options.as_ref().map(packed),
        },
        snapshot_key: &record.snapshot_key,
        snapshotter: &record.snapshotter,
        created_at: time(record.created),
        updated_at: time(record.updated),
        extensions: record
            .extensions
            .iter()
            .map(|(key, any)| (key.as_str(), packed(any)))
            .collect(),
        sandbox_id: &record.sandbox_id,
        spec,
    };
    let mut text = Vec::new();
    let format = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    shown
        .serialize(&mut serializer)
        .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
    Ok(escaped(&String::from_utf8_lossy(&text)))
}

/// Escapes what Go's encoder escapes; these characters stand in strings only.
fn escaped(json: &str) -> String {
    let special = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if special.contains(&character) {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            text.push(character);
        }
    }
    text
}

/// Returns an `Any` in the form it is printed in.
pub(crate) fn packed(any: &Any) -> Packed<'_> {
    Packed { type_url: &any.type_url, value: STANDARD.encode(&any.value) }
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(super::escaped("\"<é&\""), r#""\u003cé\u0026""#);
    }
}
