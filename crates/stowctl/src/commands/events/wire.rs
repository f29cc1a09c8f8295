//! Events as Go encodes their protobuf messages: fields in the order of their declaration, those
//! that say nothing left out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::Value;
use stowd_core::events::Event;
use stowd_core::mount::Mount;
use stowd_core::tasks::Stdio;
use stowd_core::{Any, Labels};

use crate::commands::info::Stamp;

/// Fields in an order of their own, where `serde_json`'s map would sort them.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Field)>);

#[derive(Debug)]
enum Field {
    Value(Value),
    Fields(Fields),
    List(Vec<Fields>),
    Time(Stamp),
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field) in &self.0 {
            match field {
                Field::Value(value) => map.serialize_entry(name, value)?,
                Field::Fields(fields) => map.serialize_entry(name, fields)?,
                Field::List(list) => map.serialize_entry(name, list)?,
                Field::Time(time) => map.serialize_entry(name, time)?,
            }
        }
        map.end()
    }
}

impl Fields {
    fn text(self, name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        self.add(name, (!text.is_empty()).then_some(Field::Value(Value::String(text))))
    }

    fn number(self, name: &'static str, number: impl Into<u64>) -> Self {
        let number = number.into();
        self.add(name, (number != 0).then(|| Field::Value(Value::from(number))))
    }

    fn labels(self, name: &'static str, labels: Labels) -> Self {
        let said = !labels.is_empty();
        let map = labels.into_iter().map(|(key, value)| (key, Value::String(value)));
        self.add(name, said.then(|| Field::Value(Value::Object(map.collect()))))
    }

    fn texts(self, name: &'static str, texts: Vec<String>) -> Self {
        self.add(name, (!texts.is_empty()).then(|| Field::Value(Value::from(texts))))
    }

    /// Adds a field, unless it says nothing.
    fn add(mut self, name: &'static str, field: impl Into<Option<Field>>) -> Self {
        self.0.extend(field.into().map(|field| (name, field)));
        self
    }
}

/// Returns an event's fields.
pub(super) fn value(event: Event) -> Fields {
    let it = Fields::default();
    match event {
        Event::ContainerCreate { id, image, runtime } => {
            let made = Fields::default().text("name", runtime.name);
            let made = match runtime.options {
                Some(options) => made.add("options", Field::Fields(any(options))),
                None => made,
            };
            it.text("id", id).text("image", image).add("runtime", Field::Fields(made))
        }
        Event::ContainerUpdate { id, image, labels, snapshot_key } => it
            .text("id", id)
            .text("image", image)
            .labels("labels", labels)
            .text("snapshot_key", snapshot_key),
        Event::ContainerDelete { id } => it.text("id", id),
        Event::ContentCreate { digest, size } => it.text("digest", digest).number("size", size),
        Event::ContentDelete { digest } => it.text("digest", digest),
        Event::ImageCreate { name, labels }
        | Event::ImageUpdate { name, labels }
        | Event::NamespaceCreate { name, labels }
        | Event::NamespaceUpdate { name, labels } => it.text("name", name).labels("labels", labels),
        Event::ImageDelete { name } | Event::NamespaceDelete { name } => it.text("name", name),
        Event::SandboxCreate { sandbox_id } | Event::SandboxStart { sandbox_id } => {
            it.text("sandbox_id", sandbox_id)
        }
        Event::SandboxExit { sandbox_id, exit_status, exited_at } => it
            .text("sandbox_id", sandbox_id)
            .number("exit_status", exit_status)
            .add("exited_at", Field::Time(exited_at.into())),
        Event::SnapshotPrepare { key, parent, snapshotter } => {
            it.text("key", key).text("parent", parent).text("snapshotter", snapshotter)
        }
        Event::SnapshotCommit { key, name, snapshotter } => {
            it.text("key", key).text("name", name).text("snapshotter", snapshotter)
        }
        Event::SnapshotRemove { key, snapshotter } => {
            it.text("key", key).text("snapshotter", snapshotter)
        }
        event => task(event),
    }
}

/// Returns the fields of a task's event, and of those that nobody here knows.
fn task(event: Event) -> Fields {
    let it = Fields::default();
    match event {
        Event::TaskCreate { container_id, bundle, rootfs, io, checkpoint, pid } => {
            let rootfs: Vec<Fields> = rootfs.into_iter().map(mount).collect();
            it.text("container_id", container_id)
                .text("bundle", bundle)
                .add("rootfs", (!rootfs.is_empty()).then_some(Field::List(rootfs)))
                .add("io", Field::Fields(stdio(io)))
                .text("checkpoint", checkpoint)
                .number("pid", pid)
        }
        Event::TaskStart { container_id, pid } => {
            it.text("container_id", container_id).number("pid", pid)
        }
        Event::TaskDelete { container_id, pid, exit_status, exited_at, id } => it
            .text("container_id", container_id)
            .number("pid", pid)
            .number("exit_status", exit_status)
            .add("exited_at", Field::Time(exited_at.into()))
            .text("id", id),
        Event::TaskExit { container_id, id, pid, exit_status, exited_at } => it
            .text("container_id", container_id)
            .text("id", id)
            .number("pid", pid)
            .number("exit_status", exit_status)
            .add("exited_at", Field::Time(exited_at.into())),
        Event::TaskExecAdded { container_id, exec_id } => {
            it.text("container_id", container_id).text("exec_id", exec_id)
        }
        Event::TaskExecStarted { container_id, exec_id, pid } => {
            it.text("container_id", container_id).text("exec_id", exec_id).number("pid", pid)
        }
        Event::TaskOOM { container_id }
        | Event::TaskPaused { container_id }
        | Event::TaskResumed { container_id } => it.text("container_id", container_id),
        Event::TaskCheckpointed { container_id, checkpoint } => {
            it.text("container_id", container_id).text("checkpoint", checkpoint)
        }
        Event::Other(event) => any(event),
        // All others are in `value`.
        _ => it,
    }
}

fn mount(mount: Mount) -> Fields {
    Fields::default()
        .text("type", mount.kind)
        .text("source", mount.source)
        .text("target", mount.target)
        .texts("options", mount.options)
}

fn stdio(io: Stdio) -> Fields {
    Fields::default()
        .text("stdin", io.stdin)
        .text("stdout", io.stdout)
        .text("stderr", io.stderr)
        .add("terminal", io.terminal.then_some(Field::Value(Value::Bool(true))))
}

fn any(any: Any) -> Fields {
    Fields::default()
        .text("type_url", any.type_url)
        .text("value", BASE64_STANDARD.encode(&any.value))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn fields_stand_in_their_order_and_say_something() {
        let exit = Event::TaskExit {
            container_id: "c".into(),
            id: "c".into(),
            pid: 7,
            exit_status: 0,
            exited_at: UNIX_EPOCH + Duration::from_secs(5),
        };
        let text = serde_json::to_string(&value(exit)).unwrap();
        assert_eq!(text, r#"{"container_id":"c","id":"c","pid":7,"exited_at":{"seconds":5}}"#);
        let deleted = Event::ImageDelete { name: "a".into() };
        assert_eq!(serde_json::to_string(&value(deleted)).unwrap(), r#"{"name":"a"}"#);
    }
}
