//! The client on real daemons: stowd, and unmodified containerd, which must not differ.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod containers;
mod examples;
mod images;
mod processes;

use std::fs::File;
use std::sync::Arc;

use stowd_client::{Client, Container, ContainerBuilder, Image, Import, Io, Streams, Task};
use stowd_core::progress::Silent;
use stowd_core::snapshots::Snapshotter as _;
use stowd_testing::daemon::Kind;
use stowd_testing::{Daemon, Scratch};
use tokio::io::{AsyncReadExt as _, DuplexStream};

/// The name of the image that every test has.
const IMAGE: &str = "test.example/busybox:1";

/// Makes a test for each kind of daemon from each function.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod on_stowd {
            $(#[test]
            fn $test() {
                stowd_testing::need!(root, clients, overlayfs, stowd);
                crate::run(stowd_testing::daemon::Kind::Stowd, super::$test);
            })+
        }
        mod on_containerd {
            $(#[test]
            fn $test() {
                stowd_testing::need!(root, clients, overlayfs);
                let kind = stowd_testing::daemon::Kind::Containerd(stowd_testing::Version::V2);
                crate::run(kind, super::$test);
            })+
        }
    };
}
use on_both;

/// A daemon with an image, and a client.
struct Rig {
    client: Client,
    // Ends before the folder goes.
    daemon: Daemon,
    scratch: Scratch,
}

fn run(kind: Kind, test: impl AsyncFnOnce(&Rig)) {
    let scratch = Scratch::new();
    let daemon = Daemon::start(kind, &scratch, "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(daemon.socket(), daemon.namespace()).await.unwrap();
        let rig = Rig { client, daemon, scratch };
        test(&rig).await;
    });
}

impl Rig {
    /// Brings the image, unpacked or not.
    async fn import(&self, unpack: Option<String>) -> Image {
        let path = self.scratch.join("image.tar");
        stowd_testing::image::Image::busybox().write_oci_archive(&path, IMAGE);
        let archive = Box::new(File::open(path).unwrap());
        let import = Import { unpack, ..Import::default() };
        self.client.import_with(archive, import, Arc::new(Silent)).await.unwrap();
        self.client.image(IMAGE).await.unwrap()
    }

    /// Begins a container that runs a shell script.
    async fn shell(&self, id: &str, script: &str) -> ContainerBuilder<'static> {
        let image = match self.client.image(IMAGE).await {
            Ok(image) => image,
            Err(_) => self.import(Some(String::new())).await,
        };
        self.client.new_container(id).image(&image).args(["sh", "-c", script])
    }

    /// Makes streams whose output comes back here: standard output, standard error.
    fn streams(&self) -> (Streams, DuplexStream, DuplexStream) {
        let (stdout, out) = tokio::io::duplex(1 << 20);
        let (stderr, err) = tokio::io::duplex(1 << 20);
        let streams = Streams {
            stdout: Some(Box::new(stdout)),
            stderr: Some(Box::new(stderr)),
            fifo_root: self.scratch.join("fifos"),
            ..Streams::default()
        };
        (streams, out, err)
    }

    /// Starts a container in the background.
    async fn start(&self, id: &str, script: &str) -> (Container, Task) {
        let container = self.shell(id, script).await.create().await.unwrap();
        let task = container.create_task(Io::Null, Default::default()).await.unwrap();
        task.start().await.unwrap();
        (container, task)
    }

    /// Checks that nothing is left of any container.
    async fn nothing_is_left(&self) {
        let none = Default::default();
        assert!(self.client.containers(&none).await.unwrap().is_empty());
        let snapshots = self.client.connection().snapshotter("overlayfs");
        for id in ["c", "d"] {
            let found = snapshots.stat(self.client.scope(), id).await;
            assert!(found.unwrap_err().is_not_found(), "snapshot {id} is left");
        }
        let fifos = self.scratch.join("fifos");
        let left = std::fs::read_dir(&fifos).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "fifos are left in {}", fifos.display());
        use stowd_core::leases::Store as _;
        let leases = self.client.connection().leases();
        let ours = leases.list(self.client.scope(), &none).await.unwrap();
        let ours: Vec<_> = ours.iter().filter(|it| it.id.starts_with("stowd-client-")).collect();
        assert!(ours.is_empty(), "leases are left: {ours:?}");
    }
}

/// Reads all that there is.
async fn all(mut from: DuplexStream) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).await.unwrap();
    text
}
