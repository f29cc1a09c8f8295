//! `info`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use stowd_core::introspection::{Introspection as _, Server};

use crate::context::Context;
use crate::failure::Outcome;

/// Prints what the daemon says of itself, as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Info {}

#[derive(Serialize)]
struct Shown {
    server: Process,
}

#[derive(Serialize)]
struct Process {
    #[serde(skip_serializing_if = "String::is_empty")]
    uuid: String,
    pid: u32,
    pidns: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deprecations: Vec<Deprecation>,
}

#[derive(Serialize)]
struct Deprecation {
    id: String,
    message: String,
    last_occurrence: Stamp,
}

/// A time as protobuf's Go structs are encoded.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stamp {
    #[serde(skip_serializing_if = "is_zero")]
    seconds: u64,
    #[serde(skip_serializing_if = "is_zero")]
    nanos: u64,
}

impl Info {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let server = client.connection().introspection().server().await?;
        Ok(at.printer.ctr_json(&Shown { server: server.into() })?)
    }
}

impl From<Server> for Process {
    fn from(server: Server) -> Self {
        let deprecation = |it: stowd_core::introspection::Deprecation| Deprecation {
            id: it.id,
            message: it.message,
            last_occurrence: it.last_occurrence.into(),
        };
        Self {
            uuid: server.uuid,
            pid: server.pid,
            pidns: server.pid_namespace,
            deprecations: server.deprecations.into_iter().map(deprecation).collect(),
        }
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanos: since.subsec_nanos().into() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
