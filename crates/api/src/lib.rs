//! The protobuf contract between stowd, its clients and its shims.
//!
//! The `.proto` files under `proto/` are our own, in our own folders and words; their packages,
//! names, numbers and types are containerd's, since those are the wire. Their Rust types are in
//! modules that follow the packages:
//!
//! | module | packages |
//! |---|---|
//! | [`services`] | `containerd.services.*`: what the daemon serves |
//! | [`types`] | `containerd.types`, `containerd.v1.types` (as [`types::task`]) |
//! | [`events`] | all event messages |
//! | [`task`], [`runtime`] | what a shim serves, and how it is started |
//! | [`runc`], [`runtimeoptions`] | runtime options |
//! | [`cgroups`] | metrics |
//! | [`health`], [`rpc`] | gRPC's health service and status message |
//!
//! Beside the types:
//! * [`Any`] packs and unpacks typed values;
//! * [`ttrpc`] is the codec that daemon and shims speak, without I/O of its own, and behind the
//!   feature `ttrpc-tokio` an async client and server;
//! * [`status`] turns `core`'s errors into gRPC and ttrpc statuses and back, and is the only place
//!   that does;
//! * [`scope`] reads and writes the headers that carry namespace and lease;
//! * [`convert`] has the `From` and `TryFrom` between these messages and `core`'s types.
//!
//! # Features
//! `grpc` (default) adds tonic's clients and servers. Without it nothing here needs tonic or tokio:
//! a shim links messages, method names ([`task::v3::task_names`]) and the codec only.

mod any;
pub mod convert;
mod generated;
pub mod scope;
pub mod status;
pub mod ttrpc;

pub use any::Any;
pub use generated::containerd::{runtime, services};
pub use prost::{Message, Name};
pub use prost_types::{FieldMask, Timestamp};

/// The most bytes of one gRPC message, either way: what containerd and its clients allow.
///
/// Tonic's own limit is 4 MiB; set this on every client and server
/// (`max_decoding_message_size`, `max_encoding_message_size`).
pub const MAX_MESSAGE_SIZE: usize = 16 << 20;

/// Types that several services share.
pub mod types {
    pub use crate::generated::containerd::types::*;

    /// Processes of a task (package `containerd.v1.types`).
    pub mod task {
        pub use crate::generated::containerd::v1::types::*;
    }
}

/// All event messages.
///
/// The image events belong to package `containerd.services.images.v1` on the wire; every other one
/// is in `containerd.events`.
pub mod events {
    pub use crate::generated::containerd::events::*;
    pub use crate::generated::containerd::services::images::v1::{
        ImageCreate, ImageDelete, ImageUpdate,
    };
}

/// The task service of a shim.
pub mod task {
    /// Version 2: the names, and the types of version 3, which are the same on the wire.
    pub mod v2 {
        pub use crate::generated::containerd::task::v2::*;
        pub use crate::generated::containerd::task::v3::{
            CheckpointTaskRequest, CloseIoRequest, ConnectRequest, ConnectResponse,
            CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse,
            ExecProcessRequest, ExecProcessResponse, KillRequest, PauseRequest, PidsRequest,
            PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
            StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
            UpdateTaskRequest, WaitRequest, WaitResponse,
        };
    }

    pub use crate::generated::containerd::task::v3;
}

/// Options of the runc runtime.
pub mod runc {
    pub use crate::generated::containerd::runc::v1;
}

/// Options of runtimes that bring their own configuration.
pub mod runtimeoptions {
    pub use crate::generated::runtimeoptions::v1;
}

/// Metrics of a task.
pub mod cgroups {
    pub use crate::generated::io::containerd::cgroups::{v1, v2};
}

/// gRPC's health service.
pub mod health {
    pub use crate::generated::grpc::health::v1;
}

/// gRPC's own messages.
pub mod rpc {
    pub use crate::generated::google::rpc::Status;
}
