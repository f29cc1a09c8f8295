//! A real registry server on loopback, filled with images made here.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use stowd_core::Digest;

use crate::clients::Version;
use crate::http;
use crate::image::{Blob, Image, Index};
use crate::process::{Background, Run, wait_briefly};
use crate::scratch::Scratch;

/// The user that a registry with [`Access::Password`] lets in.
pub const USER: &str = "bosun";
/// That user's password.
pub const PASSWORD: &str = "belay";
/// The password as htpasswd stores it (bcrypt, the one form that the registry reads).
const HTPASSWD: &str = "bosun:$2b$04$abcdefghijklmnopqrstuurVCk9rve5rQUHdmb4zaMzv8P5WYhOam\n";

/// How a registry wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP.
    Plain,
    /// TLS, with a certificate signed by [`Registry::ca`].
    Tls,
}

/// Whom a registry lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Open,
    /// [`USER`] with [`PASSWORD`], by HTTP basic authentication.
    Password,
}

/// Debian's docker-registry with a storage folder of its own; ends when dropped.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    address: SocketAddr,
    _process: Background,
}

impl Registry {
    /// Starts a registry that everyone may use over plain HTTP.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, Transport::Plain, Access::Open)
    }

    /// Starts a registry.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(scratch: &Scratch, transport: Transport, access: Access) -> Self {
        let folder = scratch.folder(scratch.name("registry"));
        if transport == Transport::Tls {
            make_certificates(&folder);
        }
        fs::write(folder.join("htpasswd"), HTPASSWD).expect("writing the password");
        let (address, process) = serve(&folder, transport, access);
        Self { folder, address, _process: process }
    }

    /// Returns how references name it: `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the authority that signed its own.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Stores an image and returns its reference, `host/name:tag`.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push(&self, name: &str, tag: &str, image: &Image) -> String {
        self.fill(|door| {
            push(door, name, tag, image);
        });
        format!("{}/{name}:{tag}", self.host())
    }

    /// Stores an index with its images and returns its reference.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push_index(&self, name: &str, tag: &str, index: &Index) -> String {
        self.fill(|door| {
            for (_, image) in &index.images {
                push(door, name, image.manifest().digest.as_str(), image);
            }
            put_manifest(door, name, tag, &index.blob());
        });
        format!("{}/{name}:{tag}", self.host())
    }

    /// Opens a side door on the same storage, plain and without passwords, for as long as `fill` runs.
    fn fill(&self, fill: impl FnOnce(SocketAddr)) {
        let (address, _door) = serve(&self.folder, Transport::Plain, Access::Open);
        fill(address);
    }
}

/// Stores an image in any registry that asks for neither TLS nor a password.
///
/// # Panics
/// When the registry refuses it.
pub fn push(registry: SocketAddr, name: &str, tag: &str, image: &Image) {
    for layer in &image.layers {
        put_blob(registry, name, &layer.blob);
    }
    put_blob(registry, name, &image.config());
    put_manifest(registry, name, tag, &image.manifest());
}

fn put_blob(door: SocketAddr, name: &str, blob: &Blob) {
    let (head, _) = http::exchange(door, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"")
        .expect("starting an upload");
    let location = head.header("location").unwrap_or_else(|| panic!("no upload: {}", head.start));
    let at = location.find("/v2/").unwrap_or(0);
    let path = format!("{}&digest={}", &location[at..], blob.digest);
    let kind = [("Content-Type", "application/octet-stream")];
    let (head, body) = http::exchange(door, "PUT", &path, &kind, &blob.data).expect("uploading");
    assert_eq!(head.status(), 201, "{}: {}", head.start, String::from_utf8_lossy(&body));
}

fn put_manifest(door: SocketAddr, name: &str, tag: &str, blob: &Blob) {
    let kind = [("Content-Type", blob.media_type.as_str())];
    let path = format!("/v2/{name}/manifests/{tag}");
    let (head, body) = http::exchange(door, "PUT", &path, &kind, &blob.data).expect("uploading");
    assert_eq!(head.status(), 201, "{}: {}", head.start, String::from_utf8_lossy(&body));
}

fn serve(folder: &Path, transport: Transport, access: Access) -> (SocketAddr, Background) {
    // Another program may take the port between our look and the registry's; then look again.
    for _ in 0..10 {
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port on loopback");
        let config = folder.join(format!("config-{}.yml", address.port()));
        fs::write(&config, yaml(folder, address, transport, access)).expect("writing the config");
        let mut command = Command::new(Version::V1_6.program("docker-registry"));
        command.arg("serve").arg(&config).current_dir(folder).env("OTEL_TRACES_EXPORTER", "none");
        let mut process = Background::start(command, &folder.join("log"));
        let connected =
            wait_briefly(|| TcpStream::connect(address).is_ok() || !process.is_running());
        if connected && process.is_running() {
            return (address, process);
        }
    }
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the registry does not start:\n{log}");
}

fn yaml(folder: &Path, address: SocketAddr, transport: Transport, access: Access) -> String {
    let folder = folder.display();
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n  secret: hold\n"
    );
    if transport == Transport::Tls {
        text.push_str(&format!(
            "  tls:\n    certificate: {folder}/server.crt\n    key: {folder}/server.key\n"
        ));
    }
    if access == Access::Password {
        text.push_str(&format!(
            "auth:\n  htpasswd:\n    realm: hold\n    path: {folder}/htpasswd\n"
        ));
    }
    text
}

/// Makes an authority and a certificate for loopback signed by it.
fn make_certificates(folder: &Path) {
    let openssl = |args: &str| {
        let run = Command::new("openssl");
        let mut command = run;
        command.current_dir(folder).args(args.split(' '));
        Run::new(command).ok();
    };
    fs::write(
        folder.join("names"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
    )
    .expect("writing the names");
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-authority -keyout ca.key -out ca.crt",
    );
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
    );
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
}

/// Asks a registry that everyone may use for a blob; for checks of what a client pushed.
///
/// # Panics
/// When it does not answer.
pub fn fetch_blob(host: SocketAddr, name: &str, digest: &Digest) -> Option<Vec<u8>> {
    let (head, body) = http::exchange(host, "GET", &format!("/v2/{name}/blobs/{digest}"), &[], b"")
        .expect("the registry answers");
    (head.status() == 200).then_some(body)
}
