//! Events as typed values, and their envelopes.

use prost::DecodeError;
use stowd_core::events::{Envelope, Event};
use stowd_core::mount::Mount;
use stowd_core::tasks::Stdio;
use stowd_core::{Error, Namespace};

use super::required;
use super::time::{time, timestamp};
use super::{signed, unsigned};
use crate::types;
use crate::{Any, events as wire};

impl From<Event> for Any {
    fn from(event: Event) -> Self {
        match event {
            Event::ContainerCreate { id, image, runtime } => {
                let options = runtime.options.map(Into::into);
                let runtime = wire::container_create::Runtime { name: runtime.name, options };
                Self::pack(&wire::ContainerCreate { id, image, runtime: Some(runtime) })
            }
            Event::ContainerUpdate { id, image, labels, snapshot_key } => {
                Self::pack(&wire::ContainerUpdate { id, image, labels, snapshot_key })
            }
            Event::ContainerDelete { id } => Self::pack(&wire::ContainerDelete { id }),
            Event::ContentCreate { digest, size } => {
                let size = signed(size);
                Self::pack(&wire::ContentCreate { digest, size, ..Default::default() })
            }
            Event::ContentDelete { digest } => Self::pack(&wire::ContentDelete { digest }),
            Event::ImageCreate { name, labels } => Self::pack(&wire::ImageCreate { name, labels }),
            Event::ImageUpdate { name, labels } => Self::pack(&wire::ImageUpdate { name, labels }),
            Event::ImageDelete { name } => Self::pack(&wire::ImageDelete { name }),
            Event::NamespaceCreate { name, labels } => {
                Self::pack(&wire::NamespaceCreate { name, labels })
            }
            Event::NamespaceUpdate { name, labels } => {
                Self::pack(&wire::NamespaceUpdate { name, labels })
            }
            Event::NamespaceDelete { name } => Self::pack(&wire::NamespaceDelete { name }),
            Event::SandboxCreate { sandbox_id } => Self::pack(&wire::SandboxCreate { sandbox_id }),
            Event::SandboxStart { sandbox_id } => Self::pack(&wire::SandboxStart { sandbox_id }),
            Event::SandboxExit { sandbox_id, exit_status, exited_at } => {
                let exited_at = Some(timestamp(exited_at));
                Self::pack(&wire::SandboxExit { sandbox_id, exit_status, exited_at })
            }
            Event::SnapshotPrepare { key, parent, snapshotter } => {
                Self::pack(&wire::SnapshotPrepare { key, parent, snapshotter })
            }
            Event::SnapshotCommit { key, name, snapshotter } => {
                Self::pack(&wire::SnapshotCommit { key, name, snapshotter })
            }
            Event::SnapshotRemove { key, snapshotter } => {
                Self::pack(&wire::SnapshotRemove { key, snapshotter })
            }
            Event::TaskCreate { container_id, bundle, rootfs, io, checkpoint, pid } => {
                let rootfs = rootfs.into_iter().map(types::Mount::from).collect();
                let io = Some(wire::TaskIo {
                    stdin: io.stdin,
                    stdout: io.stdout,
                    stderr: io.stderr,
                    terminal: io.terminal,
                });
                Self::pack(&wire::TaskCreate { container_id, bundle, rootfs, io, checkpoint, pid })
            }
            Event::TaskStart { container_id, pid } => {
                Self::pack(&wire::TaskStart { container_id, pid })
            }
            Event::TaskDelete { container_id, pid, exit_status, exited_at, id } => {
                let exited_at = Some(timestamp(exited_at));
                Self::pack(&wire::TaskDelete { container_id, pid, exit_status, exited_at, id })
            }
            Event::TaskExit { container_id, id, pid, exit_status, exited_at } => {
                let exited_at = Some(timestamp(exited_at));
                Self::pack(&wire::TaskExit { container_id, id, pid, exit_status, exited_at })
            }
            Event::TaskOOM { container_id } => Self::pack(&wire::TaskOom { container_id }),
            Event::TaskExecAdded { container_id, exec_id } => {
                Self::pack(&wire::TaskExecAdded { container_id, exec_id })
            }
            Event::TaskExecStarted { container_id, exec_id, pid } => {
                Self::pack(&wire::TaskExecStarted { container_id, exec_id, pid })
            }
            Event::TaskPaused { container_id } => Self::pack(&wire::TaskPaused { container_id }),
            Event::TaskResumed { container_id } => Self::pack(&wire::TaskResumed { container_id }),
            Event::TaskCheckpointed { container_id, checkpoint } => {
                Self::pack(&wire::TaskCheckpointed { container_id, checkpoint })
            }
            Event::Other(any) => any.into(),
        }
    }
}

impl From<Any> for Event {
    /// A value that is of no known type, or not what its type says, stays as it is.
    fn from(any: Any) -> Self {
        match known(&any) {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => Self::Other(any.into()),
        }
    }
}

impl From<Envelope> for types::Envelope {
    fn from(envelope: Envelope) -> Self {
        Self {
            timestamp: Some(timestamp(envelope.timestamp)),
            namespace: envelope.namespace.to_string(),
            topic: envelope.topic,
            event: Some(envelope.event.into()),
        }
    }
}

impl TryFrom<types::Envelope> for Envelope {
    type Error = Error;

    fn try_from(message: types::Envelope) -> Result<Self, Error> {
        Ok(Self {
            timestamp: time(message.timestamp)?,
            namespace: Namespace::new(message.namespace)
                .map_err(|error| error.context("event envelope has invalid namespace"))?,
            topic: message.topic,
            event: required(message.event, "event")?.into(),
        })
    }
}

/// Why a value of a known type is not taken apart.
enum Damaged {
    Encoding,
    Content,
}

impl From<DecodeError> for Damaged {
    fn from(_: DecodeError) -> Self {
        Self::Encoding
    }
}

impl From<Error> for Damaged {
    fn from(_: Error) -> Self {
        Self::Content
    }
}

fn known(any: &Any) -> Result<Option<Event>, Damaged> {
    macro_rules! each {
        ($($message:ident => |$m:ident| $event:expr,)*) => {
            match any.type_url.rsplit(['.', '/']).next().unwrap_or_default() {
                $(<wire::$message as prost::Name>::NAME => match any.unpack::<wire::$message>()? {
                    None => Ok(None),
                    Some($m) => Ok(Some($event)),
                },)*
                _ => Ok(None),
            }
        };
    }
    each! {
        ContainerCreate => |m| {
            let runtime = m.runtime.unwrap_or_default();
            let options = runtime.options.map(Into::into);
            let runtime = stowd_core::containers::Runtime { name: runtime.name, options };
            Event::ContainerCreate { id: m.id, image: m.image, runtime }
        },
        ContainerUpdate => |m| Event::ContainerUpdate {
            id: m.id,
            image: m.image,
            labels: m.labels,
            snapshot_key: m.snapshot_key,
        },
        ContainerDelete => |m| Event::ContainerDelete { id: m.id },
        ContentCreate => |m| {
            Event::ContentCreate { digest: m.digest, size: unsigned(m.size, "size")? }
        },
        ContentDelete => |m| Event::ContentDelete { digest: m.digest },
        ImageCreate => |m| Event::ImageCreate { name: m.name, labels: m.labels },
        ImageUpdate => |m| Event::ImageUpdate { name: m.name, labels: m.labels },
        ImageDelete => |m| Event::ImageDelete { name: m.name },
        NamespaceCreate => |m| Event::NamespaceCreate { name: m.name, labels: m.labels },
        NamespaceUpdate => |m| Event::NamespaceUpdate { name: m.name, labels: m.labels },
        NamespaceDelete => |m| Event::NamespaceDelete { name: m.name },
        SandboxCreate => |m| Event::SandboxCreate { sandbox_id: m.sandbox_id },
        SandboxStart => |m| Event::SandboxStart { sandbox_id: m.sandbox_id },
        SandboxExit => |m| Event::SandboxExit {
            sandbox_id: m.sandbox_id,
            exit_status: m.exit_status,
            exited_at: time(m.exited_at)?,
        },
        SnapshotPrepare => |m| Event::SnapshotPrepare {
            key: m.key,
            parent: m.parent,
            snapshotter: m.snapshotter,
        },
        SnapshotCommit => |m| Event::SnapshotCommit {
            key: m.key,
            name: m.name,
            snapshotter: m.snapshotter,
        },
        SnapshotRemove => |m| Event::SnapshotRemove { key: m.key, snapshotter: m.snapshotter },
        TaskCreate => |m| {
            let io = m.io.unwrap_or_default();
            Event::TaskCreate {
                container_id: m.container_id,
                bundle: m.bundle,
                rootfs: m.rootfs.into_iter().map(Mount::from).collect(),
                io: Stdio {
                    stdin: io.stdin,
                    stdout: io.stdout,
                    stderr: io.stderr,
                    terminal: io.terminal,
                },
                checkpoint: m.checkpoint,
                pid: m.pid,
            }
        },
        TaskStart => |m| Event::TaskStart { container_id: m.container_id, pid: m.pid },
        TaskDelete => |m| Event::TaskDelete {
            container_id: m.container_id,
            pid: m.pid,
            exit_status: m.exit_status,
            exited_at: time(m.exited_at)?,
            id: m.id,
        },
        TaskExit => |m| Event::TaskExit {
            container_id: m.container_id,
            id: m.id,
            pid: m.pid,
            exit_status: m.exit_status,
            exited_at: time(m.exited_at)?,
        },
        TaskOom => |m| Event::TaskOOM { container_id: m.container_id },
        TaskExecAdded => |m| Event::TaskExecAdded {
            container_id: m.container_id,
            exec_id: m.exec_id,
        },
        TaskExecStarted => |m| Event::TaskExecStarted {
            container_id: m.container_id,
            exec_id: m.exec_id,
            pid: m.pid,
        },
        TaskPaused => |m| Event::TaskPaused { container_id: m.container_id },
        TaskResumed => |m| Event::TaskResumed { container_id: m.container_id },
        TaskCheckpointed => |m| Event::TaskCheckpointed {
            container_id: m.container_id,
            checkpoint: m.checkpoint,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;

    fn some_of_all() -> Vec<Event> {
        let at = SystemTime::now();
        let text = String::from;
        let labels = stowd_core::Labels::from([(text("k"), text("v"))]);
        let stdio = Stdio { stdout: text("/o"), terminal: true, ..Stdio::default() };
        let mount = Mount { kind: text("bind"), source: text("/s"), ..Mount::default() };
        vec![
            Event::ContainerCreate {
                id: text("c"),
                image: text("i"),
                runtime: stowd_core::containers::Runtime { name: text("r"), options: None },
            },
            Event::ContainerUpdate {
                id: text("c"),
                image: text("i"),
                labels: labels.clone(),
                snapshot_key: text("s"),
            },
            Event::ContainerDelete { id: text("c") },
            Event::ContentCreate { digest: text("d"), size: 9 },
            Event::ContentDelete { digest: text("d") },
            Event::ImageCreate { name: text("i"), labels: labels.clone() },
            Event::ImageUpdate { name: text("i"), labels: labels.clone() },
            Event::ImageDelete { name: text("i") },
            Event::NamespaceCreate { name: text("n"), labels: labels.clone() },
            Event::NamespaceUpdate { name: text("n"), labels },
            Event::NamespaceDelete { name: text("n") },
            Event::SandboxCreate { sandbox_id: text("s") },
            Event::SandboxStart { sandbox_id: text("s") },
            Event::SandboxExit { sandbox_id: text("s"), exit_status: 1, exited_at: at },
            Event::SnapshotPrepare { key: text("k"), parent: text("p"), snapshotter: text("o") },
            Event::SnapshotCommit { key: text("k"), name: text("n"), snapshotter: text("o") },
            Event::SnapshotRemove { key: text("k"), snapshotter: text("o") },
            Event::TaskCreate {
                container_id: text("c"),
                bundle: text("/b"),
                rootfs: vec![mount],
                io: stdio,
                checkpoint: String::new(),
                pid: 3,
            },
            Event::TaskStart { container_id: text("c"), pid: 3 },
            Event::TaskDelete {
                container_id: text("c"),
                pid: 3,
                exit_status: 137,
                exited_at: at,
                id: text("e"),
            },
            Event::TaskExit {
                container_id: text("c"),
                id: text("c"),
                pid: 3,
                exit_status: 137,
                exited_at: at,
            },
            Event::TaskOOM { container_id: text("c") },
            Event::TaskExecAdded { container_id: text("c"), exec_id: text("e") },
            Event::TaskExecStarted { container_id: text("c"), exec_id: text("e"), pid: 4 },
            Event::TaskPaused { container_id: text("c") },
            Event::TaskResumed { container_id: text("c") },
            Event::TaskCheckpointed { container_id: text("c"), checkpoint: text("p") },
        ]
    }

    #[test]
    fn every_event_survives_and_has_the_type_that_core_says() {
        for event in some_of_all() {
            let any = Any::from(event.clone());
            assert_eq!(any.type_url, event.type_url());
            assert_eq!(Event::from(any), event);
        }
    }

    #[test]
    fn what_is_unknown_or_damaged_is_passed_on() {
        let damaged = Any {
            type_url: "containerd.events.TaskExit".into(),
            value: Bytes::from_static(&[0xff]),
        };
        let unknown = Any { type_url: "io.example.TaskExit".into(), value: Bytes::new() };
        for any in [damaged, unknown] {
            let event = Event::from(any.clone());
            assert!(matches!(event, Event::Other(_)));
            assert_eq!(Any::from(event), any);
        }
    }
}
