//! The runtime spec as data, field for field in the order in which Go's clients write it.

mod linux;
mod process;
mod resources;

use serde_json::Value;

pub use linux::{
    Device, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NetDevice, Personality, Seccomp,
    Syscall, SyscallArg, TimeOffset,
};
pub use process::{
    Capabilities, ConsoleSize, CpuAffinity, Hook, Hooks, IoPriority, Mount, Process, Rlimit, Root,
    Scheduler, Spec, User,
};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma,
    Resources, ThrottleDevice, WeightDevice,
};

use crate::{Error, Result};

impl Spec {
    /// Understands a `config.json`. As for Go's clients, `null` is the same as absent, and what the
    /// spec does not know is dropped.
    pub fn parse(json: &[u8]) -> Result<Spec> {
        let value: Value = serde_json::from_slice(json).map_err(Error::Spec)?;
        let mut value = object(value).map_err(Error::Spec)?;
        drop_nulls(&mut value);
        serde_json::from_value(value).map_err(Error::Spec)
    }

    /// Writes the spec as Go's `json.Marshal` does: one line, `<`, `>` and `&` escaped.
    pub fn to_json(&self) -> String {
        escape(&serde_json::to_string(self).unwrap_or_default())
    }

    /// Writes the spec as `ctr oci spec` prints it: indented by four, without a newline at the end.
    pub fn to_pretty_json(&self) -> String {
        let mut bytes = Vec::with_capacity(8192);
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        // Maps have string keys and a Vec takes every byte, so this cannot fail.
        _ = serde::Serialize::serialize(self, &mut serializer);
        escape(&String::from_utf8_lossy(&bytes))
    }
}

/// Lets only an object through: a list would pass for one with its fields in order.
pub(crate) fn object(value: Value) -> Result<Value, serde_json::Error> {
    if value.is_object() {
        return Ok(value);
    }
    Err(serde::de::Error::custom("expected an object"))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Outside strings these characters do not occur in JSON, so all of them can be replaced.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields
                .iter_mut()
                .filter(|(key, _)| *key != "windows")
                .for_each(|(_, field)| drop_nulls(field));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_absent_and_strangers_are_dropped() {
        let json = br#"{"ociVersion":"1.0.2","hooks":null,"x":1,"process":{"user":{"uid":1},
            "args":null,"cwd":"/"},"linux":{"resources":{"devices":null,"memory":{"limit":-1}}}}"#;
        let spec = Spec::parse(json).unwrap();
        assert_eq!(
            spec.to_json(),
            r#"{"ociVersion":"1.0.2","process":{"user":{"uid":1,"gid":0},"cwd":"/"},"linux":{"resources":{"memory":{"limit":-1}}}}"#
        );
        assert!(Spec::parse(b"{").is_err() && Spec::parse(b"[]").is_err());
        assert!(Spec::parse(br#"{"process":{"cwd":1}}"#).is_err());
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let spec = Spec { hostname: "a<b>&\u{2028}é\"".into(), ..Spec::default() };
        let json = spec.to_json();
        assert!(json.contains(r#""hostname":"a\u003cb\u003e\u0026\u2028é\"""#), "{json}");
        assert_eq!(Spec::parse(json.as_bytes()).unwrap(), spec);
    }
}
