//! What the daemon says about itself.

use std::time::UNIX_EPOCH;

use stowd_core::introspection::{Deprecation, Plugin, PluginError, Server, Version};
use stowd_core::{Error, Platform};

use super::time::{time, timestamp};
use crate::rpc::Status;
use crate::services::introspection::v1;
use crate::services::version::v1::VersionResponse;
use crate::{status, types};

impl From<PluginError> for Status {
    fn from(error: PluginError) -> Self {
        status::to_ttrpc(&Error::new(error.kind, error.message))
    }
}

impl From<Status> for PluginError {
    fn from(message: Status) -> Self {
        let error = status::from_ttrpc(&message);
        Self { kind: error.kind(), message: error.message().to_owned() }
    }
}

impl From<Plugin> for v1::Plugin {
    fn from(plugin: Plugin) -> Self {
        Self {
            r#type: plugin.kind,
            id: plugin.id,
            requires: plugin.requires,
            platforms: plugin.platforms.into_iter().map(types::Platform::from).collect(),
            exports: plugin.exports,
            capabilities: plugin.capabilities,
            init_err: plugin.init_error.map(Status::from),
        }
    }
}

impl From<v1::Plugin> for Plugin {
    fn from(message: v1::Plugin) -> Self {
        Self {
            kind: message.r#type,
            id: message.id,
            requires: message.requires,
            platforms: message.platforms.into_iter().map(Platform::from).collect(),
            exports: message.exports,
            capabilities: message.capabilities,
            init_error: message.init_err.map(PluginError::from),
        }
    }
}

impl From<Server> for v1::ServerResponse {
    fn from(server: Server) -> Self {
        let deprecations = server.deprecations.into_iter().map(|warning| v1::DeprecationWarning {
            id: warning.id,
            message: warning.message,
            last_occurrence: Some(timestamp(warning.last_occurrence)),
        });
        Self {
            uuid: server.uuid,
            pid: server.pid.into(),
            pidns: server.pid_namespace,
            deprecations: deprecations.collect(),
        }
    }
}

impl From<v1::ServerResponse> for Server {
    fn from(message: v1::ServerResponse) -> Self {
        let deprecations = message.deprecations.into_iter().map(|warning| Deprecation {
            id: warning.id,
            message: warning.message,
            // When it was is the least of a warning.
            last_occurrence: time(warning.last_occurrence).unwrap_or(UNIX_EPOCH),
        });
        Self {
            uuid: message.uuid,
            // A pid that is none is no reason to lose the rest.
            pid: message.pid.try_into().unwrap_or(0),
            pid_namespace: message.pidns,
            deprecations: deprecations.collect(),
        }
    }
}

impl From<Version> for VersionResponse {
    fn from(version: Version) -> Self {
        Self { version: version.version, revision: version.revision }
    }
}

impl From<VersionResponse> for Version {
    fn from(message: VersionResponse) -> Self {
        Self { version: message.version, revision: message.revision }
    }
}
